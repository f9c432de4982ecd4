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
	parts     string
	write     bool
	// Of a fleet: how many hosts each, how many instances on each host, in which stores, and how many of them are changed a
	// second.
	hosts, stores string
	each          int
	rate          float64
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
	flag.StringVar(&s.parts, "parts", "loopback,host", "what is measured: the guest side on loopback, guests attached to a host; fleet: a replica with many agents")
	flag.StringVar(&s.hosts, "hosts", "10,100,1000", "fleet: hosts, one fleet after the other")
	flag.IntVar(&s.each, "each", 1000, "fleet: instances of each host")
	flag.StringVar(&s.stores, "stores", "bolt", "fleet: bolt, etcd or both: where the replica has its store")
	flag.Float64Var(&s.rate, "rate", 50, "fleet: changes a second")
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
	if err := b.build(ctx, "openimds", ".."); err != nil {
		return err
	}
	for part := range strings.SplitSeq(s.parts, ",") {
		// The machine is described before it is under load.
		machine := describeMachine()
		var text string
		switch part {
		case "loopback":
			text, err = b.loopback(ctx)
		case "host":
			text, err = b.host(ctx)
		case "fleet":
			text, err = b.agents(ctx)
		default:
			err = fmt.Errorf("-parts: there is no %q", part)
		}
		if err != nil {
			return err
		}
		text = fmt.Sprintf("%s. %s.\n\n%s", time.Now().UTC().Format("2 January 2006"), strings.Join(machine, "; "), text)
		if err := publish(part, text, s.write); err != nil {
			return err
		}
	}
	return nil
}

// loopback compares the guest side with other servers.
func (b *bench) loopback(ctx context.Context) (string, error) {
	if _, err := exec.LookPath("wrk"); err != nil {
		return "", errors.New("wrk is not installed: apt-get install wrk")
	}
	if runtime.NumCPU() < 2 {
		return "", errors.New("two cores are needed, one for the server and one for wrk")
	}
	for _, name := range []string{"guests", "nethttp"} {
		if err := b.build(ctx, name, "."); err != nil {
			return "", err
		}
	}
	log.Printf("making a store of %s instances", grouped(b.instances))
	for name, count := range map[string]int{"one": 1, "many": b.instances} {
		if err := fillStore(ctx, filepath.Join(b.dir, name), count); err != nil {
			return "", err
		}
	}
	report := report{settings: b.settings}
	var err error
	if report.starts, err = b.measureStarts(ctx); err != nil {
		return "", err
	}
	if report.pinned, err = b.measure(ctx, true); err != nil {
		return "", err
	}
	if report.free, err = b.measure(ctx, false); err != nil {
		return "", err
	}
	return report.markdown(), nil
}

// host measures openimds with guests attached, by a program of its own, for it needs namespaces of its own.
func (b *bench) host(ctx context.Context) (string, error) {
	if os.Geteuid() != 0 {
		log.Print("not measured: the host, which needs root")
		return "Not measured: it needs root.\n", nil
	}
	if err := b.build(ctx, "host", "."); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, b.path("host"), "-openimds", b.path("openimds"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	return string(text), err
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
