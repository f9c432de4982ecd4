package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
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

// showLine prints an answer as JSON on one line.
func showLine(w io.Writer, answer any) error {
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
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

// watchEvery is how long what is watched stays.
const watchEvery = 2 * time.Second

// watch shows once, or again and again until Ctrl-C: on a terminal in the place of what was shown before, as
// JSON a line each time.
func (c *clientConfig) watch(cmd *cobra.Command, again bool, show func(ctx context.Context, out io.Writer) error) error {
	ctx, out := cmd.Context(), cmd.OutOrStdout()
	if !again {
		return show(ctx, out)
	}
	for {
		var view bytes.Buffer
		if err := show(ctx, &view); err != nil {
			return err
		}
		if err := c.display(out, view.Bytes()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}

// display shows what is watched as it is now.
func (c *clientConfig) display(out io.Writer, view []byte) error {
	if c.output == "json" {
		var line bytes.Buffer
		if err := json.Compact(&line, view); err != nil {
			return err
		}
		_, err := out.Write(append(line.Bytes(), '\n'))
		return err
	}
	if screen := screenOf(out); screen != nil {
		// Not through out, which lets no control character pass: to the beginning, and nothing below it.
		if _, err := io.WriteString(screen, "\x1b[H\x1b[J"); err != nil {
			return err
		}
	} else {
		view = append(view, '\n')
	}
	_, err := out.Write(view)
	return err
}

// screenOf is the terminal that a command prints to; nil: it prints to something else.
func screenOf(out io.Writer) io.Writer {
	if wrapped, ok := out.(interface{ Unwrap() io.Writer }); ok {
		out = wrapped.Unwrap()
	}
	file, ok := out.(*os.File)
	if !ok {
		return nil
	}
	if info, err := file.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return file
}

// names asks for the given number of names; most 0 is no upper bound.
func names(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most > 0 && len(args) > most {
			return usagef("%s takes %s; see '%s --help'", subject(cmd), what, cmd.CommandPath())
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
