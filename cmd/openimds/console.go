package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/spf13/cobra"
)

// consoleLink is a link to the console.
type consoleLink struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// linkForm is of a link's token: nothing that a browser or a shell would take for anything else.
var linkForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// newConsole makes "openimds console": the server's web page, signed in to.
func newConsole() *cobra.Command {
	var c clientConfig
	var noOpen bool
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Open the server's web page, signed in",
		Long: `Open the server's web page in a browser, signed in with the key that this command signs with. On a terminal of a
desktop the browser is opened; else the link is printed. It is good once, for 60 seconds, and then for a session of up to
12 hours: give it to nobody.`,
		Example: `  openimds console
  openimds console --no-open  # prints the link, for a browser elsewhere (ssh -L 1339:127.0.0.1:1339 …)`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			api, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			made, err := client.Call(cmd.Context(), api, wire.CreateConsoleLink, wire.Nothing{})
			if err != nil {
				return err
			}
			if !linkForm.MatchString(made.Token) {
				return fmt.Errorf("the server's answer has no link that a browser could be given: %q", made.Token)
			}
			page := strings.TrimSuffix(c.location().url, "/") + "/console/"
			link := consoleLink{page + "#link=" + made.Token, made.ExpiresAt.UTC()}
			if c.output == "json" {
				return c.show(cmd.OutOrStdout(), link, nil)
			}
			if !noOpen && screenOf(cmd.OutOrStdout()) != nil && openBrowser(cmd.Context(), link.URL) {
				return say(cmd.OutOrStdout(), "%s is open in the browser; if not, 'openimds console --no-open' prints a link\n", page)
			}
			return say(cmd.OutOrStdout(), "%s\n", link.URL)
		},
	}
	c.addFlags(cmd)
	cmd.Flags().BoolVar(&noOpen, "no-open", false, "print the link and open no browser")
	return cmd
}

// openTime is how long the program that opens a browser may take; one that takes longer is the browser.
const openTime = 5 * time.Second

// openBrowser has the desktop open a page, if there is one.
func openBrowser(ctx context.Context, url string) bool {
	name := "xdg-open"
	switch {
	case runtime.GOOS == "darwin":
		name = "open"
	case runtime.GOOS == "windows": // whose own opener is none of a program's, but of its shell
		return false
	case os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "": // it would take a browser for terminals
		return false
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return false
	}
	opening := exec.CommandContext(context.WithoutCancel(ctx), path, url)
	if err := opening.Start(); err != nil {
		return false
	}
	ended := make(chan error, 1)
	go func() { ended <- opening.Wait() }()
	select {
	case err := <-ended:
		return err == nil
	case <-time.After(openTime):
		return true
	}
}
