package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// describeMachine returns what the figures depend on, one fact a line.
func describeMachine() []string {
	facts := []string{}
	if commit, err := exec.Command("git", "describe", "--tags", "--always", "--dirty").Output(); err == nil {
		facts = append(facts, "openimds "+strings.TrimSpace(string(commit)))
	}
	facts = append(facts, fmt.Sprintf("%s, %d cores, %.0f GiB of memory", firstLine("/proc/cpuinfo", "model name"), runtime.NumCPU(), float64(totalMemory())/(1<<30)))
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		facts = append(facts, "Linux "+strings.TrimSpace(string(kernel)))
	}
	facts = append(facts, runtime.Version())
	for _, program := range []string{"nginx", "wrk"} {
		if _, err := exec.LookPath(program); err != nil {
			continue
		}
		out, _ := exec.Command(program, "-v").CombinedOutput() // wrk ends with 1 after its version
		line, _, _ := strings.Cut(string(out), "\n")
		line, _, _ = strings.Cut(line, " Copyright")
		facts = append(facts, strings.TrimPrefix(line, "nginx version: "))
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		facts = append(facts, "load before the run "+strings.Fields(string(load))[0])
	}
	return facts
}

func firstLine(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func totalMemory() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	return kilobytes(text, "MemTotal:")
}
