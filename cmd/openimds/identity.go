package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/openimds/openimds/identity"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/server"
	"github.com/spf13/cobra"
)

func newIdentity() *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "identity",
		Short: "Print, rotate and import the keys that sign identity documents",
		Long: `Print, rotate and import the keys that sign instance identity documents. They take the place of
AWS's: give their certificates to whoever verifies such documents. A running server takes up a
change within seconds.`,
		Args: noSubcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&dataDir, "data-dir", "", "where the server keeps its data")
	dir := func() (string, error) {
		if dataDir != "" {
			return filepath.Join(dataDir, server.IdentityDir), nil
		}
		d, err := defaultDataDir()
		return filepath.Join(d, server.IdentityDir), err
	}
	cmd.AddCommand(newIdentityCertificates(dir), newIdentityRotate(dir), newIdentityImport(dir))
	return cmd
}

func newIdentityCertificates(dir func() (string, error)) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "certificates",
		Short: "Print the certificates, those of coming and of earlier keys too",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := dir()
			if err != nil {
				return err
			}
			keys, err := identity.Load(d)
			if err != nil {
				return fmt.Errorf("%w; 'openimds serve' makes them at its first start", err)
			}
			if out != "" {
				if err := os.MkdirAll(out, 0o755); err != nil {
					return fmt.Errorf("--out: %w", err)
				}
			}
			for _, form := range identity.Forms() {
				var text []byte
				for _, key := range keys.All(form) {
					text = append(text, key.CertificatePEM()...)
				}
				if out == "" {
					if err = say(cmd.OutOrStdout(), "# %s\n", form); err == nil {
						_, err = cmd.OutOrStdout().Write(text)
					}
				} else {
					err = safefile.Write(filepath.Join(out, form.String()+".crt"), text, 0o644)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`directory`, made if need be, to write one file for each form of signature to")
	return cmd
}

func newIdentityRotate(dir func() (string, error)) *cobra.Command {
	var form string
	var in time.Duration
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make new keys that sign from a later time on, and print their certificates",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			forms := identity.Forms()
			if form != "" {
				one, err := identity.ParseForm(form)
				if err != nil {
					return usagef("--form: %w", err)
				}
				forms = []identity.Form{one}
			}
			if in < 0 {
				return usagef("--in cannot be negative")
			}
			d, err := dir()
			if err != nil {
				return err
			}
			for _, f := range forms {
				key, err := identity.Rotate(d, f, time.Now().Add(in))
				if err != nil {
					return err
				}
				if err := say(cmd.OutOrStdout(), "# %s, signs from %s\n", f, key.Certificate.NotBefore.Format(time.RFC3339)); err != nil {
					return err
				}
				if _, err := cmd.OutOrStdout().Write(key.CertificatePEM()); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&form, "form", "", "only for signature, pkcs7 or rsa2048")
	spanVar(cmd.Flags(), &in, "in", 24*time.Hour, "how long verifiers have to take up the new certificates")
	return cmd
}

func newIdentityImport(dir func() (string, error)) *cobra.Command {
	var form string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Sign with a key of your own: a PEM file with the private key and its certificate behind it",
		Args:  names(1, 1, "one file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := identity.ParseForm(form)
			if err != nil {
				return usagef("--form: %w", err)
			}
			d, err := dir()
			if err != nil {
				return err
			}
			text, err := readInput(cmd, args[0], maxPEMFile)
			if err != nil {
				return err
			}
			keys, err := identity.Import(d, f, text)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			for _, key := range keys {
				c := key.Certificate
				if err := say(cmd.OutOrStdout(), "imported for %s: %s, serial %s, signs from %s to %s\n",
					f, c.Subject, c.SerialNumber, c.NotBefore.Format(time.RFC3339), c.NotAfter.Format(time.RFC3339)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&form, "form", "rsa2048", "signature, pkcs7 or rsa2048")
	return cmd
}
