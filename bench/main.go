// Command bench measures openimds on loopback beside nginx and a bare net/http handler, all in one
// run, and prints the figures as Markdown. It needs Linux and wrk; docs/BENCHMARKS.md says how to
// read the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// settings are those of the command line.
type settings struct {
	rounds    int
	duration  time.Duration
	clients   int
	instances int
	write     bool
}

// bench is one run.
type bench struct {
	settings
	dir string // everything that the run leaves behind; removed at its end
	// answers are openimds' own raw answers by scenario, for the others to give as well.
	answers map[string][]byte
}

func main() {
	var s settings
	flag.IntVar(&s.rounds, "rounds", 3, "rounds; the servers take turns in each")
	flag.DurationVar(&s.duration, "duration", 2*time.Second, "of one measurement; wrk takes whole seconds")
	flag.IntVar(&s.clients, "clients", 64, "clients at once")
	flag.IntVar(&s.instances, "instances", 1_000_000, "instances of a large installation")
	flag.BoolVar(&s.write, "write", false, "put the report into docs/BENCHMARKS.md too")
	flag.Parse()
	log.SetFlags(log.Ltime)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		stop()
		log.Fatal(err)
	}
}

func run(ctx context.Context, s settings) error {
	if _, err := exec.LookPath("wrk"); err != nil {
		return errors.New("wrk is not installed: apt-get install wrk")
	}
	if runtime.NumCPU() < 2 {
		return errors.New("two cores are needed, one for the server and one for wrk")
	}
	// Two runs at once would measure each other. The name lives in the kernel and goes with the run.
	alone, err := net.Listen("unix", "@openimds-bench")
	if errors.Is(err, syscall.EADDRINUSE) {
		return errors.New("another run is under way on this machine: wait for its end")
	}
	if err != nil {
		return err
	}
	defer alone.Close()
	dir, err := os.MkdirTemp("", "openimds-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{settings: s, dir: dir, answers: map[string][]byte{}}
	machine := describeMachine()
	for name, source := range map[string]string{"openimds": "..", "guests": ".", "nethttp": "."} {
		if err := b.build(ctx, name, source); err != nil {
			return err
		}
	}
	log.Printf("making a store of %s instances", grouped(s.instances))
	for name, count := range map[string]int{"one": 1, "many": s.instances} {
		if err := fillStore(ctx, filepath.Join(dir, name), count); err != nil {
			return err
		}
	}
	report := report{machine: machine, settings: s}
	if report.starts, err = b.measureStarts(ctx); err != nil {
		return err
	}
	if report.pinned, err = b.measure(ctx, true); err != nil {
		return err
	}
	if report.free, err = b.measure(ctx, false); err != nil {
		return err
	}
	return report.publish()
}

// build makes a program of this tree.
func (b *bench) build(ctx context.Context, name, source string) error {
	pkg := "./" + name
	if name == "openimds" {
		pkg = "./cmd/openimds"
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", b.path(name), pkg)
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot build %s: %w\n%s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }
