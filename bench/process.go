package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Cores of the pinned measurements.
const (
	serverCore = 0
	clientCore = 1
	anyCore    = -1
)

// startTime is how long a server may take until it is ready.
const startTime = 5 * time.Minute

// process is a program that runs until it is stopped.
type process struct {
	cmd   *exec.Cmd
	log   bytes.Buffer // what it said; read only after its end
	ended chan error
	began time.Time
}

// startProcess runs a program on one core, or on any.
func startProcess(ctx context.Context, core int, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, name, args...), ended: make(chan error, 1)}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.began = time.Now()
	if err := onCore(core, p.cmd.Start); err != nil {
		return nil, err
	}
	go func() { p.ended <- p.cmd.Wait() }()
	return p, nil
}

// onCore calls start, which starts a process, so that the process has one core only: it inherits that
// from the thread that starts it.
func onCore(core int, start func() error) error {
	if core == anyCore {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return err
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("cannot take core %d: %w", core, err)
	}
	return errors.Join(start(), unix.SchedSetaffinity(0, &all))
}

// pin gives a process that runs already one core only.
func (p *process) pin(core int) error {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.cmd.Process.Pid))
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
		if err := unix.SchedSetaffinity(id, &one); err != nil {
			return fmt.Errorf("cannot give it core %d: %w", core, err)
		}
	}
	return nil
}

// stop ends the process and waits for that.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(os.Interrupt) // an error means that it has ended already
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// waitFor polls until the condition holds, and fails when the process ends before that.
func (p *process) waitFor(ctx context.Context, holds func() bool) error {
	for deadline := time.Now().Add(startTime); !holds(); time.Sleep(500 * time.Microsecond) {
		select {
		case err := <-p.ended:
			p.ended <- err
			return fmt.Errorf("%s ended before it was ready: %v\n%s", p.cmd.Path, err, p.log.Bytes())
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready after %v", p.cmd.Path, startTime)
		}
	}
	return nil
}

// readReady waits for a file of key=value lines.
func (p *process) readReady(ctx context.Context, file string) (map[string]string, error) {
	var text []byte
	err := p.waitFor(ctx, func() bool {
		var err error
		text, err = os.ReadFile(file)
		return err == nil
	})
	values := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = value
	}
	return values, err
}

// pids are the process and its children (nginx works in those).
func (p *process) pids() []int {
	pids := []int{p.cmd.Process.Pid}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pids[0], pids[0]))
	if err != nil {
		return pids
	}
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// tick is the unit of the times in /proc/PID/stat: 100 a second on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpu returns the time that the process has used so far, in user and system mode (proc(5)).
func (p *process) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.pids() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// The second field is a name in brackets and may hold anything; the others have no bracket.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		for _, i := range []int{11, 12} {
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}

// settle waits until the process has nothing left to do.
func (p *process) settle(ctx context.Context) error {
	for last := time.Duration(-1); ; {
		now, err := p.cpu()
		if err != nil {
			return err
		}
		if now == last {
			return nil
		}
		last = now
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// memory is what a process holds in memory, in bytes.
type memory struct {
	resident int64 // all of it
	anon     int64 // without what is a file's: the program itself, the store's pages
}

func (p *process) memory() (m memory, err error) {
	for _, pid := range p.pids() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return m, err
		}
		m.resident += kilobytes(text, "VmRSS:")
		m.anon += kilobytes(text, "RssAnon:")
	}
	return m, nil
}

// kilobytes reads one "NAME  n kB" of /proc as bytes.
func kilobytes(text []byte, name string) int64 {
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}
