package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Limits of files that have none by what they are for, in bytes.
const (
	maxPEMFile    = 1 << 20
	maxConfigFile = 1 << 20
	maxKeyFile    = 64 << 10 // far above what a public key takes
)

// readInput reads a file of at most limit bytes; "-" is standard input.
func readInput(cmd *cobra.Command, file string, limit int64) ([]byte, error) {
	if file == "-" {
		return readAll("standard input", cmd.InOrStdin(), limit)
	}
	return readFile(file, limit)
}

// readFile reads a file of at most limit bytes: one that is larger, or has no end, is not taken into memory.
func readFile(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, usageError{err}
	}
	defer func() { _ = f.Close() }()
	return readAll(file, f, limit)
}

func readAll(name string, in io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if int64(len(text)) > limit {
		return nil, usagef("%s has more than %d bytes", name, limit)
	}
	return text, nil
}

// readsInput has the flags whose file may be "-": standard input, or of --output standard output.
var readsInput = []string{"instance create --user-data", "instance set --user-data", "ssh-key push --key", "serve --replay", "record --output"}

// refuseInput refuses "-" as a file where that is not standard input: a file of that name is what nobody means.
func refuseInput(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		kind, _ := pflag.UnquoteUsage(f)
		words := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			words = list.GetSlice()
		}
		for _, word := range words {
			if word == "-" && (kind == "file" || kind == "directory") && !slices.Contains(readsInput, subject(cmd)+" --"+f.Name) {
				err = usagef("--%s - is no %s: standard input and output are not taken here; one that is called so is ./-", f.Name, kind)
			}
		}
	})
	return err
}

// aFile refuses "-" as the file that a command is for.
func aFile(cmd *cobra.Command, file, instead string) error {
	if file == "-" {
		return usagef("%s - is no file: %s; one that is called so is ./-", subject(cmd), instead)
	}
	return nil
}
