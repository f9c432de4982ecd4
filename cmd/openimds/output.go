package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/printable"
	"github.com/spf13/cobra"
)

// say prints what people read. Whatever stands in args may be somebody else's text: it stays on its line,
// and what cannot be shown is escaped. There is no other way to print in this command but [printTable],
// JSON and the like, and those pass the writer that escapes the rest.
func say(w io.Writer, format string, args ...any) error {
	for i, arg := range args {
		switch arg.(type) {
		case string, error, fmt.Stringer:
			args[i] = printable.Line(fmt.Sprint(arg))
		}
	}
	_, err := fmt.Fprintf(w, format, args...)
	return err
}

// show prints an answer: as JSON, or as a table whose rows the second function makes.
func (c *clientConfig) show(w io.Writer, answer any, table func(row func(cells ...any))) error {
	if c.output == "json" {
		text, err := json.MarshalIndent(answer, "", "  ")
		if err != nil {
			return err
		}
		_, err = w.Write(append(text, '\n'))
		return err
	}
	return printTable(w, table)
}

// printTable prints a table whose rows the function makes.
func printTable(w io.Writer, table func(row func(cells ...any))) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	table(func(cells ...any) {
		words := make([]string, len(cells))
		for i, cell := range cells {
			words[i] = printable.Line(fmt.Sprint(cell))
		}
		_, _ = fmt.Fprintln(t, strings.TrimRight(strings.Join(words, "\t"), "\t")) // Flush reports it
	})
	return t.Flush()
}

// watch repeats show every interval until Ctrl-C; without an interval it shows once.
func watch(cmd *cobra.Command, interval time.Duration, show func(ctx context.Context) error) error {
	ctx := cmd.Context()
	for {
		if err := show(ctx); err != nil || interval == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
		if err := say(cmd.OutOrStdout(), "\n"); err != nil {
			return err
		}
	}
}

// names asks for the given number of names; most 0 is no upper bound.
func names(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most > 0 && len(args) > most {
			return usagef("%s takes %s; see '%s --help'", cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}

// when is a time of an answer; one that the answer leaves out is "-".
func when(e awsjson.Epoch) string {
	if e.IsZero() {
		return "-"
	}
	return e.UTC().Format(time.DateTime)
}
