package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

const logLevel = "log-level"

// rereads has the settings of a command read again as they were read at the start: what was typed beats the environment
// and the file. It is called before these are looked at. anew makes the command's flags, and what settles them.
func (c *logging) rereads(typed *pflag.FlagSet, anew func() (*pflag.FlagSet, func(*pflag.FlagSet) error)) {
	given := map[string][]string{}
	typed.Visit(func(f *pflag.Flag) {
		given[f.Name] = []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			given[f.Name] = list.GetSlice()
		}
	})
	c.reread = func() (map[string]string, error) {
		flags, settle := anew()
		var err error
		flags.VisitAll(func(f *pflag.Flag) {
			words, typed := given[f.Name]
			list, isList := f.Value.(pflag.SliceValue)
			switch {
			case err != nil || !typed:
			case isList:
				if err = flags.Set(f.Name, ""); err == nil { // it is given from then on
					err = list.Replace(words)
				}
			default:
				err = flags.Set(f.Name, words[0])
			}
		})
		if err == nil {
			err = settle(flags)
		}
		values := map[string]string{}
		flags.VisitAll(func(f *pflag.Flag) { values[f.Name] = f.Value.String() })
		return values, err
	}
}

// reloadAt reads the settings again at each signal, until the context ends, and obeys the level of the log.
func (c *logging) reloadAt(ctx context.Context, hangups <-chan os.Signal, log *slog.Logger) {
	was, _ := c.reread() // as the command has just done
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			was = c.reload(log, was)
		}
	}
}

// reload returns the settings that are obeyed from now on, of those that was obeyed before.
func (c *logging) reload(log *slog.Logger, was map[string]string) map[string]string {
	now, err := c.reread()
	var level slog.Level
	if err == nil {
		err = level.UnmarshalText([]byte(now[logLevel]))
	}
	if err != nil {
		log.Error("the settings cannot be read again, and stay as they are", "error", err)
		return was
	}
	var waiting []string
	for name, value := range now {
		if name != logLevel && value != was[name] {
			waiting = append(waiting, name)
		}
	}
	slices.Sort(waiting)
	words := []any{logLevel, now[logLevel], "was", was[logLevel]}
	if len(waiting) > 0 {
		words = append(words, "from_the_next_start", strings.Join(waiting, ","))
	}
	c.level.Set(min(c.level.Level(), slog.LevelInfo)) // it is told whatever the level
	log.Info("the settings were read again: the level of the log is obeyed", words...)
	c.level.Set(level)
	was[logLevel] = now[logLevel]
	return was
}
