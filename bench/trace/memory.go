package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// measureMemory has so many processes of one guest call over a time, each with a command line and a user agent of its own and
// ending at once, and tells what a server that names them, and a trace that looks on, have resident on the way.
func (s settings) measureMemory() error {
	dir, err := os.MkdirTemp("", "bench-trace")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	guest := exec.Command("/proc/self/exe", "-guest", "-callers", strconv.Itoa(s.callers), "-memory", s.memory.String())
	guest.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	guest.Stderr = os.Stderr
	begin, err := guest.StdinPipe()
	if err != nil {
		return err
	}
	told, err := guest.StdoutPipe()
	if err != nil {
		return err
	}
	if err := guest.Start(); err != nil {
		return err
	}
	defer func() { _ = guest.Process.Kill(); _ = guest.Wait() }()
	server, api, stop, err := startServer(s.openimds, dir)
	if err != nil {
		return err
	}
	defer stop()
	if err := attachGuest(s.openimds, dir, api, guest.Process.Pid); err != nil {
		return err
	}
	trace, stopTrace, err := startTrace(s.openimds, dir, "--summary")
	if err != nil {
		return err
	}
	defer stopTrace()
	row := func(name string) {
		fmt.Printf("| %s | %s | %s |\n", name, resident(server), resident(trace))
	}
	fmt.Printf("%d callers in %v\n\n| after so many callers | serve | trace |\n|---|---|---|\n", s.callers, s.memory)
	row("0")
	if _, err := io.WriteString(begin, "go\n"); err != nil {
		return err
	}
	lines := bufio.NewScanner(told)
	for lines.Scan() {
		row(lines.Text())
	}
	if err := guest.Wait(); err != nil {
		return fmt.Errorf("the guest: %w", err)
	}
	time.Sleep(100 * time.Second)
	row("and 100 s of nothing")
	return nil
}

// resident are the resident memory of a process and the anonymous part of it.
func resident(pid int) string {
	megabytes := func(name string) int {
		kilobytes, _ := strconv.Atoi(strings.TrimSuffix(field(pid, name), " kB"))
		return (kilobytes + 512) / 1024
	}
	return fmt.Sprintf("%d (%d) MB", megabytes("VmRSS:"), megabytes("RssAnon:"))
}

// beGuest waits for a word, then has the callers call, evenly over the time, and tells of every twentieth of them.
func (s settings) beGuest() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	failed := 0
	for i, began := 1, time.Now(); i <= s.callers; i++ {
		time.Sleep(time.Until(began.Add(time.Duration(i) * s.memory / time.Duration(s.callers))))
		caller := exec.Command("/proc/self/exe", "-caller", strconv.Itoa(i), "--", "collect", "--every", "5m", "--region", "us-east-1", "--group", fmt.Sprint("group-", i), "--out", "/var/lib/collect")
		if err := caller.Run(); err != nil {
			failed++
		}
		if i%max(1, s.callers/20) == 0 || i == s.callers {
			fmt.Println(i)
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d callers got no answer", failed, s.callers)
	}
	return nil
}

// call is one caller: it asks, reads the answer and ends.
func call(number string) error {
	c, err := net.Dial("tcp", service)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if _, err := fmt.Fprintf(c, "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: collect/1.%s\r\n\r\n", number); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err == nil && !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") {
		err = fmt.Errorf("%.40q", answer)
	}
	return err
}

// startServer starts a server on loopback, with its data below dir, and returns its process and the address of its API.
func startServer(program, dir string) (pid int, api string, stop func(), err error) {
	ready := filepath.Join(dir, "serve.ready")
	server := exec.Command(program, "serve", "--data-dir", filepath.Join(dir, "data"), "--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--ready-file", ready)
	text, stop, err := startReady(server, ready)
	if err != nil {
		return 0, "", nil, err
	}
	for line := range strings.Lines(text) {
		if rest, found := strings.CutPrefix(line, "api="); found {
			return server.Process.Pid, strings.TrimSpace(rest), stop, nil
		}
	}
	stop()
	return 0, "", nil, fmt.Errorf("%s has no address of the API: %q", ready, text)
}

// attachGuest makes an instance of a process's namespace.
func attachGuest(program, dir, api string, pid int) error {
	for _, args := range [][]string{{"instance", "create", "web-1"}, {"attach", "web-1", "--pid", strconv.Itoa(pid)}} {
		cmd := exec.Command(program, append(args, "--endpoint", "http://"+api, "--data-dir", filepath.Join(dir, "data"))...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%q: %w: %s", args, err, out)
		}
	}
	return nil
}

// startTrace starts a trace that is not held to a share of the CPU.
func startTrace(program, dir string, args ...string) (pid int, stop func(), err error) {
	ready := filepath.Join(dir, "trace.ready")
	cmd := exec.Command(program, append([]string{"trace", "--max-cpu", "0", "--ready-file", ready}, args...)...)
	_, stop, err = startReady(cmd, ready)
	if err != nil {
		return 0, nil, err
	}
	return cmd.Process.Pid, stop, nil
}

// startReady starts a command and waits for its ready file, whose text it returns. stop ends the command.
func startReady(cmd *exec.Cmd, ready string) (text string, stop func(), err error) {
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if text, err := os.ReadFile(ready); err == nil && len(text) > 0 {
			return string(text), func() { _ = cmd.Process.Signal(os.Interrupt); <-ended }, nil
		}
		select {
		case err := <-ended:
			return "", nil, errors.Join(fmt.Errorf("%s ended", cmd), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
