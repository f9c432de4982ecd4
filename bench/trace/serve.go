package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	pid, api, stop, err := startServer(program, dir)
	if err != nil {
		return 0, f, err
	}
	defer stop()
	if err := attachGuest(program, dir, api, guest.Process.Pid); err != nil {
		return 0, f, err
	}
	// What it does once, and what is new to it, is over: the program that calls is named, or found to be another's.
	if _, err := load(rate, 2*time.Second, 0); err != nil {
		return 0, f, err
	}
	used, began := cpuOf(pid), time.Now()
	time.Sleep(s.duration)
	rest = (cpuOf(pid) - used).Seconds() / time.Since(began).Seconds()
	f, err = load(rate, s.duration, pid)
	return rest, f, err
}
