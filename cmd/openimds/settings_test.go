package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openimds/openimds/printable"
	"github.com/spf13/pflag"
)

// newSettings makes the flags of "openimds serve", parsed from a command line.
func newSettings(t testing.TB, args ...string) *pflag.FlagSet {
	t.Helper()
	var c serveConfig
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	c.addFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

func writeFile(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPrecedence goes through every flag that there is: each place can set it, and beats the places
// after it.
func TestPrecedence(t *testing.T) {
	newSettings(t).VisitAll(func(f *pflag.Flag) {
		if f.Name == "config" {
			return // says where the file is
		}
		values := []string{"31", "32", "33"}
		switch f.Value.Type() {
		case "bool":
			values = []string{"true", "false", "true"}
		case "duration":
			values = []string{"31s", "32s", "33s"}
		case "stringToString":
			values = []string{"a=1", "a=2", "a=3"}
		}
		t.Run(f.Name, func(t *testing.T) {
			inFile := writeFile(t, fmt.Sprintf("%s: %s\n", f.Name, values[2]))
			for _, c := range []struct{ name, flag, environment, file, want string }{
				{"file", "", "", inFile, values[2]},
				{"environment", "", values[1], "", values[1]},
				{"environment and file", "", values[1], inFile, values[1]},
				{"flag", values[0], "", "", values[0]},
				{"all", values[0], values[1], inFile, values[0]},
			} {
				t.Run(c.name, func(t *testing.T) {
					t.Setenv(environmentName(f.Name), c.environment)
					t.Setenv("OPENIMDS_CONFIG", c.file)
					var args []string
					if c.flag != "" {
						args = []string{"--" + f.Name + "=" + c.flag}
					}
					flags := newSettings(t, args...)
					if err := settle(flags); err != nil {
						t.Fatal(err)
					}
					if got := strings.Trim(flags.Lookup(f.Name).Value.String(), "[]"); got != c.want {
						t.Errorf("is %q, not %q", got, c.want)
					}
				})
			}
		})
	})
}

// TestLists: a repeatable flag has its values from one place only, however they are written there.
func TestLists(t *testing.T) {
	for _, c := range []struct{ name, environment, file, want string }{
		{"commas", "a:1, b:2,,c:3", "", "a:1|b:2|c:3"},
		{"one", "a:1", "imds-listen: [b:2, c:3]", "a:1"},
		{"one scalar", "", "imds-listen: b:2", "b:2"},
		{"flow", "", "imds-listen: [b:2, c:3]", "b:2|c:3"},
		{"block", "", "imds-listen:\n- b:2\n- c:3\n", "b:2|c:3"},
		{"none", "", "", defaults.IMDSListen[0]},
		{"empty list", "", "imds-listen: []", defaults.IMDSListen[0]},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("OPENIMDS_IMDS_LISTEN", c.environment)
			flags := newSettings(t, "--config", writeFile(t, c.file))
			if err := settle(flags); err != nil {
				t.Fatal(err)
			}
			got, err := flags.GetStringSlice("imds-listen")
			if err != nil {
				t.Fatal(err)
			}
			if joined := strings.Join(got, "|"); joined != c.want {
				t.Errorf("%s, not %s", joined, c.want)
			}
		})
	}
}

// FuzzConfigFile: no file makes the program do anything but obey it, or refuse it in one line that
// names it.
func FuzzConfigFile(f *testing.F) {
	f.Add("region: eu-north-1\n# comment\nallow-host: [a, b]\n")
	f.Add("region: [1, {2: 3}]")
	f.Add("a: &a b\nregion: *a")
	f.Add("<<: {region: x}")
	f.Add("- x\n---\n? y\n")
	f.Add("guest-rate: !!binary aGk=\nlog-level: |\n  a\n  b\n")
	f.Add("\x00\xff: \t\u0085")
	file := filepath.Join(f.TempDir(), "config.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := settle(newSettings(t, "--config", file))
		if err == nil {
			return
		}
		if _, ok := err.(usageError); !ok {
			t.Errorf("%v is not told as wrong usage", err)
		}
		if line := printable.Line(err.Error()); !strings.HasPrefix(line, file) || strings.ContainsAny(line, "\n\r\x00") {
			t.Errorf("%q", line)
		}
	})
}
