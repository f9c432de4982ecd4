package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"

	"github.com/openimds/openimds/outlet"
	"github.com/spf13/cobra"
)

// daemon runs what serves until a signal ends it. What it writes waits for no reader.
func daemon(cmd *cobra.Command, l *logging, run func(ctx context.Context, out io.Writer, log *slog.Logger) error) error {
	keepWithoutReaders()
	hangups, end := outliveTerminal()
	defer end()
	ctx, stop := untilSignal(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	errs, err := l.logOutlet(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer errs.Close(outputTime)
	out := outlet.New(cmd.OutOrStdout(), func(int) []byte { return nil })
	defer out.Close(outputTime)
	log, err := l.logger(errs)
	if err != nil {
		return err
	}
	var reloading sync.WaitGroup
	reloading.Go(func() { l.reloadAt(ctx, hangups, log) })
	defer reloading.Wait()
	defer stop()
	return run(ctx, out, log)
}

// endsHanging is what a daemon does whose stop takes too long: it ends, and says what it did not wait for.
func endsHanging(cmd *cobra.Command) func(stage string) {
	return func(stage string) {
		lastWords(cmd.ErrOrStderr(), "openimds: ended without waiting any longer for %s, which hangs; what was acknowledged is kept\n", stage)
		os.Exit(exitFailed)
	}
}
