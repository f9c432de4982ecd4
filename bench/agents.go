package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// stillFor is how long a fleet is looked at, at rest and under changes.
const stillFor = 20 * time.Second

// fleetFigures are those of one fleet.
type fleetFigures struct {
	hosts, each  int
	store        string
	alone        memory // before the first host
	first        following
	seats        time.Duration // until all hosts have told of all that they serve
	seatsCPU     time.Duration
	rest         still
	atRest       memory
	paced, rush  changing
	restart      following
	restartStart time.Duration // until the replica answers, once more
	afterwards   memory
	peak         int64 // resident, of the replica after its restart
	calls        []apiCall
}

// following is how all agents came to follow.
type following struct {
	first, middle, last time.Duration // in step, after the first could be
	connections         int           // that were made
	peak                int           // of them in one second
	failed              int           // tries that were in vain
	cpu                 time.Duration // of the replica
	bytes               int64         // that it sent
	records             int64         // that the agents wrote
}

// still is a fleet in which nothing happens.
type still struct {
	cpu  float64 // cores
	sent float64 // bytes a second that each host gets
	told float64 // and that it sends
}

// changing is a fleet whose instances are changed.
type changing struct {
	changes      int
	failed       int
	took         time.Duration
	cpu          time.Duration // of the replica, of each change, beyond what it takes at rest
	sent         float64       // bytes that all hosts get of each change, beyond what they get at rest
	records      float64       // that all hosts get of each change
	strangers    int           // records that came to a host which does not serve the instance
	milliseconds []float64     // from the API's answer to the host's having it
}

// agents measures a replica that many agents follow.
func (b *bench) agents(ctx context.Context) (string, error) {
	if runtime.NumCPU() < 2 {
		return "", errors.New("two cores are needed, one for the replica and one for the agents")
	}
	if err := pinSelf(clientCore); err != nil {
		return "", err
	}
	var all []fleetFigures
	var failed error
	for _, kind := range strings.Split(b.stores, ",") {
		for text := range strings.SplitSeq(b.hosts, ",") {
			hosts, err := strconv.Atoi(text)
			if err != nil || hosts < 1 {
				return "", fmt.Errorf("-hosts: %q is not a number", text)
			}
			f, err := b.measureFleet(ctx, kind, hosts)
			if err != nil { // what was measured of the others stays
				failed = errors.Join(failed, fmt.Errorf("%d hosts, %s: %w", hosts, kind, err))
				log.Print(failed)
				continue
			}
			all = append(all, *f)
		}
	}
	if len(all) == 0 {
		return "", failed
	}
	return fleetReport(all, failed), nil
}

// pinSelf gives this process one core only, also the threads that it has by now.
func pinSelf(core int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	var one unix.CPUSet
	one.Set(core)
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &one); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("cannot take core %d: %w", core, err)
		}
	}
	return nil
}

// measureFleet measures one fleet, from an empty store to the API's answers.
func (b *bench) measureFleet(ctx context.Context, kind string, hosts int) (*fleetFigures, error) {
	f := &fleetFigures{hosts: hosts, each: b.each, store: kind}
	dir := filepath.Join(b.dir, fmt.Sprintf("fleet-%s-%d", kind, hosts))
	defer os.RemoveAll(dir)
	log.Printf("%s: %d hosts of %d instances: making the store", kind, hosts, b.each)
	fleet, err := fillFleet(ctx, dir, hosts, b.each)
	if err != nil {
		return nil, err
	}
	r := &replica{bench: b, dir: filepath.Join(dir, "replica"), address: fleet.address}
	if kind == "etcd" {
		if err := r.toEtcd(ctx); err != nil {
			return nil, err
		}
		defer r.etcd.stop()
	}
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	defer func() { r.stop() }()
	if f.alone, err = r.memory(); err != nil {
		return nil, err
	}
	log.Printf("the hosts join, and follow for the first time")
	if err := fleet.join(ctx); err != nil {
		return nil, err
	}
	defer fleet.stop()
	if f.first, err = fleet.follow(ctx, r, func() (time.Time, time.Duration, error) {
		fleet.begin()
		cpu, err := r.cpu()
		return time.Now(), cpu, err
	}); err != nil {
		return nil, err
	}
	log.Printf("all follow after %v; they tell of their seats", f.first.last)
	before, err := r.cpu()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := fleet.seat(ctx); err != nil {
		return nil, err
	}
	f.seats = time.Since(began)
	after, err := r.cpu()
	if err != nil {
		return nil, err
	}
	f.seatsCPU = after - before
	log.Printf("all are seated after %v", f.seats)
	if err := r.settleFor(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	if f.rest, err = fleet.rest(ctx, r); err != nil {
		return nil, err
	}
	if f.atRest, err = r.memory(); err != nil {
		return nil, err
	}
	log.Printf("at rest: %+v, %+v; changing", f.rest, f.atRest)
	if f.paced, err = fleet.change(ctx, r, f.rest, b.rate, 1); err != nil {
		return nil, err
	}
	if f.rush, err = fleet.change(ctx, r, f.rest, 0, 8); err != nil {
		return nil, err
	}
	log.Printf("the API's answers")
	if f.calls, err = r.calls(ctx); err != nil {
		return nil, err
	}
	log.Printf("the replica is restarted")
	f.restart, err = fleet.follow(ctx, r, func() (time.Time, time.Duration, error) {
		r.stop()
		if err := fleet.outOfStep(ctx); err != nil {
			return time.Time{}, 0, err
		}
		err := r.start(ctx)
		return r.began, 0, err
	})
	if err != nil {
		return nil, err
	}
	f.restartStart = r.ready
	if f.afterwards, err = r.memory(); err != nil {
		return nil, err
	}
	f.peak, err = r.peakMemory()
	log.Printf("all follow again after %v", f.restart.last)
	return f, err
}

// replica is the server under measurement.
type replica struct {
	*process
	bench   *bench
	dir     string
	address string // where it lets hosts in
	etcd    *process
	store   []string      // flags
	ready   time.Duration // until it answered
	api     string
}

// etcdAddress is that of the only member. Nothing else of the machine is to be at it.
const etcdAddress, etcdPeer = "127.0.0.1:23790", "127.0.0.1:23800"

// toEtcd copies the store to an etcd of one member.
func (r *replica) toEtcd(ctx context.Context) (err error) {
	server := r.bench.path("etcd")
	if _, err := os.Stat(server); err != nil {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", server, ".")
		cmd.Dir = "../store/etcd/etcdtest/server"
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("cannot build etcd: %w\n%s", err, out)
		}
	}
	r.etcd, err = startProcess(ctx, clientCore, server, "--name", "m0", "--data-dir", r.dir+"-etcd", "--log-level", "error",
		"--quota-backend-bytes", strconv.Itoa(16<<30), "--snapshot-count", "10000", "--auto-compaction-mode", "revision", "--auto-compaction-retention", "10000",
		"--listen-client-urls", "http://"+etcdAddress, "--advertise-client-urls", "http://"+etcdAddress,
		"--listen-peer-urls", "http://"+etcdPeer, "--initial-advertise-peer-urls", "http://"+etcdPeer, "--initial-cluster", "m0=http://"+etcdPeer)
	if err != nil {
		return err
	}
	r.store = []string{"--store", "etcd://" + etcdAddress + "/openimds", "--host", "replica"}
	log.Printf("copying the store to etcd")
	var out []byte
	for range 30 { // until it answers
		cmd := exec.CommandContext(ctx, r.bench.path("openimds"), "store", "copy", "--from", r.dir, "--to", r.store[1])
		if out, err = cmd.CombinedOutput(); err == nil {
			r.dir += "-of-etcd"
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return fmt.Errorf("cannot copy the store to etcd: %w\n%s", err, out)
}

func (r *replica) start(ctx context.Context) (err error) {
	ready := r.dir + ".ready"
	_ = os.Remove(ready)
	r.process, err = startProcess(ctx, serverCore, r.bench.path("openimds"), append([]string{"serve", "--data-dir", r.dir, "--ready-file", ready, "--log-level", "warn",
		"--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--hosts-listen", r.address}, r.store...)...)
	if err != nil {
		return err
	}
	values, err := r.readReady(ctx, ready)
	if err != nil {
		return err
	}
	r.ready, r.api = time.Since(r.began), values["api"]
	return nil
}

// stop ends the replica, and has what it complained of in our own log.
func (r *replica) stop() {
	if r.process == nil {
		return
	}
	r.process.stop()
	said := 0
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "level=") && said < 10 {
			log.Print("the replica said: ", strings.TrimSpace(line))
			said++
		}
	}
	r.process = nil
}

// settleFor waits until the replica has nothing left to do but what hosts that are at rest ask for: less than a fifth of
// its core for so long.
func (r *replica) settleFor(ctx context.Context, d time.Duration) error {
	for range 60 {
		before, err := r.cpu()
		if err != nil {
			return err
		}
		if err := sleep(ctx, d); err != nil {
			return err
		}
		after, err := r.cpu()
		if err != nil {
			return err
		}
		if after-before < d/5 {
			return nil
		}
	}
	return nil
}

// peakMemory is the most that was resident at once.
func (r *replica) peakMemory() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.cmd.Process.Pid))
	return kilobytes(text, "VmHWM:"), err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// each runs do for all, some at once, and returns the first error.
func each[T any](all []T, atOnce int, do func(T) error) error {
	var running sync.WaitGroup
	var once sync.Once
	var failed error
	places := make(chan struct{}, atOnce)
	for _, one := range all {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			if err := do(one); err != nil {
				once.Do(func() { failed = err })
			}
		})
	}
	running.Wait()
	return failed
}
