package main

import (
	"bytes"
	"io"
	"log/slog"

	"github.com/openimds/openimds/outlet"
	"github.com/spf13/pflag"
)

// logging is how a command that goes on logs.
type logging struct {
	logFormat string
	logLevel  string
	level     *slog.LevelVar                    // of all its loggers
	reread    func() (map[string]string, error) // of all flags, by their names
}

// addFlagsOf adds its flags, and that of the file with all settings.
func (c *logging) addFlagsOf(f *pflag.FlagSet) {
	f.StringVar(&c.logFormat, "log-format", "text", "form of the log on standard error: text or json")
	f.StringVar(&c.logLevel, logLevel, "info", "debug, info, warn or error; SIGHUP has it read again from the environment and the file")
	f.String("config", "", "YAML `file` with settings, named as the flags are")
}

// logOutlet is where the log goes: to a writer that may block, without waiting for it.
func (c *logging) logOutlet(w io.Writer) (*outlet.Outlet, error) {
	var line bytes.Buffer
	log, err := c.logger(&line)
	if err != nil {
		return nil, err
	}
	return outlet.New(w, func(writes int) []byte {
		line.Reset()
		log.Error("lines of the log are lost, since nobody read them in time", "lines", writes)
		return line.Bytes()
	}), nil
}

func (c *logging) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return nil, usagef("--log-level must be debug, info, warn or error, not %q", c.logLevel)
	}
	if c.level == nil {
		c.level = new(slog.LevelVar)
	}
	c.level.Set(level)
	options := &slog.HandlerOptions{Level: c.level}
	switch c.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	}
	return nil, usagef("--log-format must be text or json, not %q", c.logFormat)
}
