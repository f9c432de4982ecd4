package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command's help has an example, and each line of one is a command line that there is.
func TestExamples(t *testing.T) {
	root := newRoot()
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if sub.Example == "" {
				t.Errorf("%s has no example", sub.CommandPath())
			}
			if strings.Contains(sub.Long, "\n  openimds ") || strings.Contains(sub.Long, "$(openimds ") {
				t.Errorf("%s has examples in its text, not under their heading", sub.CommandPath())
			}
			for line := range strings.Lines(sub.Example) {
				line = strings.TrimSpace(line)
				for _, behind := range []string{"# ", " > ", " | ", " && "} { // a comment, what the shell does
					line, _, _ = strings.Cut(line, behind)
				}
				if line == "" {
					continue
				}
				line = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), `eval "$(`), `)"`)
				words := strings.Fields(line)
				if len(words) == 0 || words[0] != "openimds" {
					t.Errorf("%s: %q is no command line", sub.CommandPath(), line)
					continue
				}
				found, rest, err := newRoot().Find(words[1:])
				if err != nil || found == found.Root() {
					t.Errorf("%s: %q: %v", sub.CommandPath(), line, err)
					continue
				}
				if err := found.ParseFlags(rest); err != nil {
					t.Errorf("%s: %q: %v", sub.CommandPath(), line, err)
				} else if err := found.ValidateArgs(found.Flags().Args()); err != nil {
					t.Errorf("%s: %q: %v", sub.CommandPath(), line, err)
				}
			}
			visit(sub)
		}
	}
	visit(root)
}
