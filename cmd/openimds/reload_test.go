package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// What serves reads its settings again and obeys the level, unless it was typed; a bad file is told and changes nothing.
func TestReload(t *testing.T) {
	for command, anew := range map[string]func() (*pflag.FlagSet, func(*pflag.FlagSet) error){"serve": serveSettings, "agent": agentSettings} {
		for _, c := range []struct {
			typed, environment, file, said string
			level                          slog.Level
		}{
			{"", "", "log-level: debug\nguest-burst: 10", "level=INFO .*log-level=debug was=info$", slog.LevelDebug},
			{"", "", "log-level: debug\nguest-burst: 11", "level=INFO .*log-level=debug was=info from_the_next_start=guest-burst$", slog.LevelDebug},
			{"", "", "log-level: error\nguest-burst: 10", "level=INFO .*log-level=error was=info$", slog.LevelError},
			{"", "", "log-level: loud", "level=ERROR .*--log-level must be debug", slog.LevelInfo},
			{"", "", "log-levle: debug", "level=ERROR .*log-levle is not a setting", slog.LevelInfo},
			{"", "", "log-level: debug\nguest-rate: fast", "level=ERROR ", slog.LevelInfo},
			{"--log-level=warn", "", "log-level: debug\nguest-burst: 10", "level=INFO .*log-level=warn was=warn$", slog.LevelWarn},
			{"", "warn", "log-level: debug\nguest-burst: 10", "level=INFO .*log-level=warn was=warn$", slog.LevelWarn},
		} {
			t.Setenv("OPENIMDS_LOG_LEVEL", c.environment)
			dir := t.TempDir()
			file := filepath.Join(dir, "settings.yaml")
			put := func(text string) {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			put("guest-burst: 10\nallow-host: [a.example, b.example]")
			flags, settle := anew()
			if err := flags.Parse(append([]string{"--config", file, "--data-dir", dir, "--allow-host", "c.example,d.example"}, strings.Fields(c.typed)...)); err != nil {
				t.Fatal(err)
			}
			var l logging
			l.rereads(flags, anew)
			if err := settle(flags); err != nil {
				t.Fatal(err)
			}
			l.logFormat, l.logLevel = "text", flags.Lookup(logLevel).Value.String()
			var log bytes.Buffer
			logger, err := l.logger(&log)
			if err != nil {
				t.Fatal(err)
			}
			was, err := l.reread()
			if err != nil {
				t.Fatal(err)
			}
			put(c.file)
			l.reload(logger, was)
			if !regexp.MustCompile(c.said).MatchString(strings.TrimSpace(log.String())) || strings.Count(log.String(), "\n") != 1 || l.level.Level() != c.level {
				t.Errorf("%s: %+v: the level is %v, and it said\n%s", command, c, l.level.Level(), &log)
			}
		}
	}
}
