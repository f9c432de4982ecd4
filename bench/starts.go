package main

import (
	"context"
	"io"
	"log"
	"os"
	"time"
)

// start is how long openimds takes from its start to its first answer.
type start struct {
	what    string
	seconds []float64
}

// measureStarts starts openimds with stores of both sizes: with the store in the system's memory
// already, and with the large one on the disk only.
func (b *bench) measureStarts(ctx context.Context) ([]start, error) {
	log.Print("measuring starts")
	starts := []start{
		{what: "1 instance"},
		{what: grouped(b.instances) + " instances, store in memory"},
		{what: grouped(b.instances) + " instances, store on disk"},
	}
	for i, dataDir := range []string{"one", "many", "many"} {
		for range b.rounds {
			file := storeFile(b.path(dataDir))
			if i == 2 {
				if err := cool(file); err != nil {
					return nil, err
				}
			} else if err := warm(file); err != nil {
				return nil, err
			}
			took, err := b.startOnce(ctx, dataDir)
			if err != nil {
				return nil, err
			}
			starts[i].seconds = append(starts[i].seconds, took.Seconds())
		}
	}
	return starts, nil
}

// startOnce returns the time from the start to the end of the first answer.
func (b *bench) startOnce(ctx context.Context, dataDir string) (time.Duration, error) {
	addr, err := freeAddress()
	if err != nil {
		return 0, err
	}
	p, err := startProcess(ctx, anyCore, b.path("openimds"), "serve", "--data-dir", b.path(dataDir),
		"--imds-listen", addr, "--api-listen", "127.0.0.1:0", "--log-level", "warn")
	if err != nil {
		return 0, err
	}
	defer p.stop()
	s := &server{name: "openimds", addrs: map[string]string{"": addr}}
	var took time.Duration
	err = p.waitFor(ctx, func() bool {
		_, err := ask(s, scenarios()[1])
		took = time.Since(p.began)
		return err == nil
	})
	return took, err
}

// warm reads a file, so that it is in the system's memory.
func warm(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, f)
	return err
}
