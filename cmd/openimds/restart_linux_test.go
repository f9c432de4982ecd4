package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestRestarts ends the real program and starts it again, in turns by SIGTERM and by SIGKILL, on a host that
// forwards and has a metadata service of its own behind its uplink, while guests of each kind call without a
// pause: no answer may be that service's, or another instance's. RESTARTS is how often, and it goes on for five
// hundred times as many requests.
func TestRestarts(t *testing.T) {
	t.Parallel()
	if os.Getenv(insideVariable) == "" {
		runInside(t, 0)
		return
	}
	restarts := times(t, "RESTARTS", 4)
	runtime.LockOSThread() // Pdeathsig is of the thread, and others end
	defer runtime.UnlockOSThread()
	must(t, prepareInside())
	h := newRestartHost(t)
	ctx, stop := context.WithCancel(t.Context())
	var callers errorGroup
	for _, g := range h.guests {
		for range 2 {
			callers.run(g.ns, func() error {
				for ctx.Err() == nil {
					g.call()
				}
				return nil
			})
		}
	}
	start := time.Now()
	for n := 0; n < restarts || h.requests() < int64(500*restarts); n++ {
		h.everybodyAnswered()
		signal := syscall.SIGTERM
		if n%2 == 1 {
			signal = syscall.SIGKILL
		}
		h.end(signal)
		time.Sleep(rand.N(50 * time.Millisecond)) // as long as a supervisor may take
		h.start()
	}
	h.everybodyAnswered()
	stop()
	must(t, callers.wait())
	var answers, none int64
	for _, g := range h.guests {
		answers, none = answers+g.own.Load(), none+g.none.Load()
		if foreign := g.foreign.Load(); foreign != nil {
			t.Errorf("%s was answered as %q", g.name, *foreign)
		}
	}
	h.releaseOffline()
	t.Logf("%d restarts in %v: %d requests, %d answered, %d not, 0 by another service", restarts, time.Since(start).Round(time.Second), answers+none, answers, none)
}

// restartHost is a host with a program that ends and starts.
type restartHost struct {
	t      *testing.T
	dir    string
	server *exec.Cmd
	guests []*restartGuest
}

type restartGuest struct {
	name, id  string
	ns        *os.File
	own, none atomic.Int64
	foreign   atomic.Pointer[string]
}

func (g *restartGuest) call() {
	id, err := whoAmI(time.Second)
	switch {
	case err != nil:
		g.none.Add(1)
		time.Sleep(time.Millisecond)
	case id == g.id:
		g.own.Add(1)
	default:
		g.foreign.Store(&id)
	}
}

func (h *restartHost) requests() (n int64) {
	for _, g := range h.guests {
		n += g.own.Load() + g.none.Load()
	}
	return n
}

func newRestartHost(t *testing.T) *restartHost {
	h := &restartHost{t: t, dir: t.TempDir()}
	must(t, os.Chmod(h.dir, 0o700))
	must(t, os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644))
	h.cloud()
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	must(t, address("br0", "10.8.0.1/24"))
	h.start()
	t.Cleanup(func() { h.end(syscall.SIGKILL) })
	access := clientConfig{endpoint: "http://" + h.api(), dataDir: h.dir, output: "json"}
	client, err := access.open(t.Context())
	must(t, err)
	do := func(operation string, request map[string]any, out any) {
		t.Helper()
		must(t, ask(t.Context(), client, operation, request, out))
	}
	for i, name := range []string{"routed", "port", "namespace"} {
		g := &restartGuest{name: name, ns: makeNamespace(t, name)}
		gateway := fmt.Sprintf("10.9.%d.1", i)
		if name == "port" {
			gateway = "10.8.0.1"
		}
		cable(t, name, g.ns, strings.TrimSuffix(gateway, "1")+"5/24", gateway)
		if name == "port" {
			bridge, err := netlink.LinkByName("br0")
			must(t, err)
			port, err := netlink.LinkByName(name)
			must(t, err)
			must(t, netlink.LinkSetMaster(port, bridge))
		} else {
			must(t, address(name, gateway+"/24"))
		}
		var before string
		must(t, inside(g.ns, func() (err error) { before, err = whoAmI(patience); return err }))
		if before != "cloud" {
			t.Fatalf("before it is attached, %s is answered as %q", name, before)
		}
		do("Lightsail_20161128.CreateInstances", map[string]any{"instanceNames": []string{name}, "availabilityZone": defaultRegion + "a", "blueprintId": "debian_12", "bundleId": "nano_3_0"}, nil)
		place := map[string]any{"instanceName": name, "interface": name}
		if name == "namespace" {
			place = map[string]any{"instanceName": name, "networkNamespace": name}
		}
		do(targetOpenIMDS+"AttachInstance", place, nil)
		must(t, inside(g.ns, func() error {
			return eventually(func() bool { g.id, _ = whoAmI(time.Second); return g.id != "" && g.id != "cloud" })
		}))
		h.guests = append(h.guests, g)
	}
	return h
}

// cloud puts the host's own metadata service behind an uplink.
func (h *restartHost) cloud() {
	ns := makeNamespace(h.t, "cloud")
	cable(h.t, "uplink", ns, "192.0.2.1/24", "192.0.2.2")
	must(h.t, address("uplink", "192.0.2.2/24"))
	var l net.Listener
	must(h.t, inside(ns, func() (err error) {
		if err := address("eth0", "169.254.169.254/32"); err != nil {
			return err
		}
		l, err = net.Listen("tcp", "169.254.169.254:80")
		return err
	}))
	h.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				_, _ = c.Read(make([]byte, 4096))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\ncloud")
			}()
		}
	}()
	_, address, err := net.ParseCIDR("169.254.169.254/32")
	must(h.t, err)
	uplink, err := netlink.LinkByName("uplink")
	must(h.t, err)
	must(h.t, netlink.RouteAdd(&netlink.Route{Dst: address, Gw: net.ParseIP("192.0.2.1"), LinkIndex: uplink.Attrs().Index}))
}

func (h *restartHost) readyFile() string { return filepath.Join(h.dir, "ready") }

func (h *restartHost) api() string {
	text, err := os.ReadFile(h.readyFile())
	must(h.t, err)
	_, api, _ := strings.Cut(string(text), "api=")
	api, _, _ = strings.Cut(api, "\n")
	return api
}

func (h *restartHost) start() {
	h.server = exec.Command("openimds", "serve", "--data-dir", h.dir, "--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0",
		"--guest-rate", "0", "--ready-file", h.readyFile(), "--log-level", "error")
	h.server.Stderr = os.Stderr
	h.server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(h.t, h.server.Start())
	must(h.t, eventually(func() bool {
		time.Sleep(5 * time.Millisecond)
		_, err := os.Stat(h.readyFile())
		return err == nil
	}))
}

func (h *restartHost) end(signal syscall.Signal) {
	must(h.t, h.server.Process.Signal(signal))
	err := h.server.Wait()
	var exit *exec.ExitError
	if err != nil && (signal == syscall.SIGTERM || !errors.As(err, &exit)) {
		h.t.Errorf("openimds serve, after %v: %v", signal, err)
	}
	_ = os.Remove(h.readyFile())
}

// everybodyAnswered waits until each guest has been answered by the program that runs now.
func (h *restartHost) everybodyAnswered() {
	h.t.Helper()
	for _, g := range h.guests {
		before := g.own.Load()
		must(h.t, eventually(func() bool {
			time.Sleep(time.Millisecond)
			return g.own.Load() > before+100 || g.foreign.Load() != nil
		}))
	}
}

// releaseOffline gives all places up without a server, and not beside one.
func (h *restartHost) releaseOffline() {
	h.t.Helper()
	release := func() (string, error) {
		out, err := exec.Command("openimds", "release", "--all", "--offline").CombinedOutput()
		return string(out), err
	}
	if out, err := release(); err == nil || !strings.Contains(out, "stop it first") {
		h.t.Errorf("released beside a server: %v, %s", err, out)
	}
	h.end(syscall.SIGTERM)
	for _, g := range h.guests {
		must(h.t, inside(g.ns, func() error {
			if id, err := whoAmI(300 * time.Millisecond); err == nil {
				h.t.Errorf("%s is answered as %q by nobody", g.name, id)
			}
			return nil
		}))
	}
	out, err := release()
	if err != nil || !strings.Contains(out, "interface routed") || !strings.Contains(out, "namespace /run/netns/namespace") {
		h.t.Errorf("release: %v, %s", err, out)
	}
	for _, g := range h.guests {
		must(h.t, inside(g.ns, func() error {
			if id, err := whoAmI(patience); id != "cloud" {
				h.t.Errorf("%s, released, is answered as %q, %v", g.name, id, err)
			}
			return nil
		}))
	}
	h.start()
}
