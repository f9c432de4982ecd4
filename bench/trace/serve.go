package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// measureServers has each program serve beside the calls, in turns.
func (s settings) measureServers(rate int) error {
	programs := strings.Split(s.openimds, ",")
	rest, beside, memory := map[string][]float64{}, map[string][]float64{}, map[string]string{}
	for range s.rounds {
		for _, program := range programs {
			atRest, f, err := s.serves(program, rate)
			if err != nil {
				return fmt.Errorf("%s: %w", program, err)
			}
			rest[program] = append(rest[program], atRest)
			beside[program] = append(beside[program], f.cpu.Seconds()/f.took.Seconds())
			memory[program] = f.memory
		}
	}
	for _, program := range programs {
		fmt.Printf("| %s | %d | %s | %s | %s |\n", filepath.Base(program), rate, percent(beside[program]), percent(rest[program]), memory[program])
	}
	return nil
}

// percent is the median with the least and the most.
func percent(shares []float64) string {
	slices.Sort(shares)
	return fmt.Sprintf("%.2f %% (%.2f to %.2f)", 100*shares[len(shares)/2], 100*shares[0], 100*shares[len(shares)-1])
}

// serves measures one server with an attached guest, which does not call, alone and then beside others' calls.
func (s settings) serves(program string, rate int) (rest float64, f figures, err error) {
	dir, err := os.MkdirTemp("", "bench-trace")
	if err != nil {
		return 0, f, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	guest := exec.Command("sleep", "3600")
	guest.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := guest.Start(); err != nil {
		return 0, f, err
	}
	defer func() { _ = guest.Process.Kill(); _ = guest.Wait() }()
	ready := filepath.Join(dir, "ready")
	server := exec.Command(program, "serve", "--data-dir", filepath.Join(dir, "data"), "--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--ready-file", ready)
	if err := server.Start(); err != nil {
		return 0, f, err
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	defer func() { _ = server.Process.Signal(os.Interrupt); <-ended }()
	api := ""
	for api == "" {
		text, _ := os.ReadFile(ready)
		for line := range strings.Lines(string(text)) {
			if rest, found := strings.CutPrefix(line, "api="); found {
				api = strings.TrimSpace(rest)
			}
		}
		select {
		case err := <-ended:
			ended <- err
			return 0, f, fmt.Errorf("the server ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
	for _, args := range [][]string{{"instance", "create", "web-1"}, {"attach", "web-1", "--pid", strconv.Itoa(guest.Process.Pid)}} {
		cmd := exec.Command(program, append(args, "--endpoint", "http://"+api, "--data-dir", filepath.Join(dir, "data"))...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, f, fmt.Errorf("%q: %w: %s", args, err, out)
		}
	}
	// What it does once, and what is new to it, is over: the program that calls is named, or found to be another's.
	if _, err := load(rate, 2*time.Second, 0); err != nil {
		return 0, f, err
	}
	used, began := cpuOf(server.Process.Pid), time.Now()
	time.Sleep(s.duration)
	rest = (cpuOf(server.Process.Pid) - used).Seconds() / time.Since(began).Seconds()
	f, err = load(rate, s.duration, server.Process.Pid)
	return rest, f, err
}
