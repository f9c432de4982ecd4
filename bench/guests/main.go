// Command guests is openimds' guest side alone, with many instances in memory as a host would have
// that serves all of them. One of them answers; how it is found costs the same with one or a million,
// for it is the listener that says who is asking.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/openimds/openimds/bench/fleet"
	"github.com/openimds/openimds/credentials/generated"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/records"
)

func main() {
	count := flag.Int("count", 1, "instances in memory")
	procs := flag.Int("procs", runtime.NumCPU(), "threads that serve, once all are loaded")
	ready := flag.String("ready-file", "", "`file` to write address and figures to")
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("guests: ")
	if err := run(*count, *procs, *ready); err != nil {
		log.Fatal(err)
	}
}

func run(count, procs int, ready string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := imds.NewServer(imds.Config{Credentials: generated.Source{}})
	guests, err := load(server, count)
	if err != nil {
		return err
	}
	collection, err := collect()
	if err != nil {
		return err
	}
	runtime.GOMAXPROCS(procs)
	listeners, err := imds.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	text := fmt.Sprintf("imds=%s\ncollection=%v\n", listeners[0].Addr(), collection)
	if err := os.WriteFile(ready+".tmp", []byte(text), 0o644); err != nil {
		return err
	}
	if err := os.Rename(ready+".tmp", ready); err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listeners[0], guests[count/2]) }()
	select {
	case err = <-served:
	case <-ctx.Done():
		err = server.Shutdown(context.Background())
	}
	runtime.KeepAlive(guests)
	return err
}

// load makes the guests, each from a record as a store holds it.
func load(server *imds.Server, count int) ([]*imds.Guest, error) {
	guests := make([]*imds.Guest, count)
	instances := fleet.NewMaker()
	var next atomic.Int64
	var failure atomic.Pointer[error]
	var loading sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		loading.Go(func() {
			for i := int(next.Add(1)) - 1; i < count && failure.Load() == nil; i = int(next.Add(1)) - 1 {
				g, err := newGuest(server, instances, i)
				if err != nil {
					failure.Store(&err)
				}
				guests[i] = g
			}
		})
	}
	loading.Wait()
	if err := failure.Load(); err != nil {
		return nil, *err
	}
	return guests, nil
}

func newGuest(server *imds.Server, instances fleet.Maker, i int) (*imds.Guest, error) {
	record, err := instances.Record(i, fleet.Name(i))
	if err != nil {
		return nil, err
	}
	in, err := records.DecodeInstance(record)
	if err != nil {
		return nil, err
	}
	g := server.NewGuest()
	return g, g.Set(in)
}

// collect returns what one full collection of the loaded heap costs, in seconds of CPU, and gives
// the garbage of the loading back to the system.
func collect() (float64, error) {
	debug.FreeOSMemory()
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return 0, err
	}
	runtime.GC()
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		return 0, err
	}
	used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
	return float64(used) / 1e9, nil
}
