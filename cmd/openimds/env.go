package main

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/printable"
	"github.com/spf13/cobra"
)

// newEnv makes "openimds env": lines for a shell that point AWS's clients at this installation.
func newEnv() *cobra.Command {
	var c serveConfig
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print shell lines that point AWS clients at openimds",
		Long: `Print shell lines that point AWS clients at openimds:

  eval "$(openimds env)"

The settings are those of "openimds serve", from the same flags, environment variables and file.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.settle(cmd.Flags()); err != nil {
				return err
			}
			credentials, err := filepath.Abs(filepath.Join(c.dataDir, credentialsFile))
			if err != nil {
				return err
			}
			var leaf *x509.Certificate
			if c.apiCert != "" {
				if leaf, err = front.ReadLeaf(c.apiCert); err != nil {
					return fmt.Errorf("--api-cert: %w", err)
				}
			}
			ca, err := c.caFile(leaf)
			if err != nil {
				return err
			}
			for _, file := range []string{credentials, ca} {
				if file != printable.Line(file) {
					return fmt.Errorf("no shell line can be printed for %s, whose name has control characters; choose another name", file)
				}
			}
			err = say(cmd.OutOrStdout(), `export AWS_EC2_METADATA_SERVICE_ENDPOINT=%s
export AWS_ENDPOINT_URL_LIGHTSAIL=%s
export AWS_SHARED_CREDENTIALS_FILE=%s
export AWS_DEFAULT_REGION=%s
`, quote("http://"+reachable(c.imdsListen[0])+"/"), quote(urlOfAPI(c.apiListen, leaf)), quote(credentials), quote(c.region))
			if err == nil && ca != "" {
				err = say(cmd.OutOrStdout(), "export AWS_CA_BUNDLE=%s\n", quote(ca))
			}
			return err
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

// reachable is where to find a listener on this machine: the address of all interfaces is none that
// a client can connect to everywhere.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && addr.Is4() && addr.IsUnspecified():
		host = "127.0.0.1"
	case err == nil && addr.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// quote makes a word that a shell reads as it is.
func quote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/:.-_", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
