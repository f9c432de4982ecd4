package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/etcd"
	"github.com/openimds/openimds/store/etcd/etcdtest"
	"github.com/openimds/openimds/usage/engine/enginetest"
)

// engineFleet are replicas on one store and agents that follow them, with the guest of one instance.
type engineFleet struct {
	t                *testing.T
	e                *enginetest.Engine
	kept             store.Store
	address, dir     string
	doors            map[string]string
	replicas, agents map[string]*process
	since            time.Time // half a day before the test
	made             int
	web              string // the instance that was made last, and the interface that it has where there is one
	calls            int    // without a token, of it
}

func startFleet(t *testing.T, cluster *etcdtest.Cluster, e *enginetest.Engine) *engineFleet {
	t.Helper()
	f := &engineFleet{
		t: t, e: e, address: etcd.Scheme + cluster.Addresses() + "/" + strings.ReplaceAll(t.Name(), "/", "-"), dir: t.TempDir(),
		doors:    map[string]string{"r1": freeAddress(t), "r2": freeAddress(t)},
		replicas: map[string]*process{}, agents: map[string]*process{}, since: time.Now().Add(-12 * time.Hour).Truncate(time.Hour),
	}
	at, err := etcd.ParseAddress(f.address)
	must(t, err)
	kept, err := etcd.Open(t.Context(), etcd.Config{Address: at})
	must(t, err)
	t.Cleanup(func() { _ = kept.Close() })
	f.kept = kept
	f.replica("r1")
	f.replica("r2")
	return f
}

func (f *engineFleet) replica(name string) {
	f.t.Helper()
	f.replicas[name] = startProcess(f.t, filepath.Join(f.dir, name), "--store", f.address, "--store-timeout", patience.String(), "--host", name,
		"--metrics-write", f.e.Write(), "--metrics-from", f.e.From(), "--hosts-listen", f.doors[name],
		"--hosts-address", f.doors["r1"], "--hosts-address", f.doors["r2"])
}

// join makes a host of an agent.
func (f *engineFleet) join(host string, flags ...string) {
	f.t.Helper()
	r := f.replicas["r2"]
	invitation, err := command(r.dir, "host", "enroll", host, "--endpoint", "http://"+r.api).Output()
	must(f.t, err)
	file := filepath.Join(f.dir, host+".join")
	must(f.t, os.WriteFile(file, invitation, 0o600))
	f.agent(host, append(flags, "--join", file)...)
}

// agent starts that of a host.
func (f *engineFleet) agent(host string, flags ...string) {
	f.t.Helper()
	p := &process{dir: filepath.Join(f.dir, host)}
	ready := filepath.Join(f.t.TempDir(), "ready")
	p.cmd = command(p.dir, append([]string{"agent", "--ready-file", ready}, flags...)...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	must(f.t, p.cmd.Start())
	f.t.Cleanup(func() { p.stop(f.t) })
	var text []byte
	if eventually(func() bool { time.Sleep(pollEvery); text, _ = os.ReadFile(ready); return len(text) > 0 }) != nil {
		f.t.Fatalf("it does not start:\n%s", p.logged())
	}
	for line := range strings.Lines(string(text)) {
		if addr, ok := strings.CutPrefix(line, "prometheus="); ok {
			p.api = strings.TrimSpace(addr)
		}
	}
	f.agents[host] = p
}

func end(t *testing.T, p *process, how os.Signal) {
	t.Helper()
	must(t, p.cmd.Process.Signal(how))
	_ = p.cmd.Wait()
}

// asGuest has a command that is the guest of the instance at a host call, and says whether it is answered with 200.
func (f *engineFleet) asGuest(host string, curl ...string) bool {
	out, err := command(f.agents[host].dir, append([]string{
		"run", "--instance", f.web, "--", "curl", "-s", "-o", os.DevNull, "-w", "%{http_code}", "--max-time", "60",
	}, curl...)...).Output()
	return err == nil && string(out) == "200"
}

// serves waits until the guest is given tokens at a host: that is no call without one.
func (f *engineFleet) serves(host string) {
	f.t.Helper()
	err := eventually(func() bool {
		time.Sleep(pollEvery)
		return f.asGuest(host, "-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60", "http://169.254.169.254/latest/api/token")
	})
	if err != nil {
		f.t.Fatalf("%v:\n%s", err, f.agents[host].logged())
	}
}

func (f *engineFleet) attach(host string) {
	f.t.Helper()
	out := ""
	err := eventually(func() bool { // once the host has said that it is there
		time.Sleep(pollEvery)
		var err error
		out, err = f.replicas["r2"].operator("attach", f.web, "--host", host, "--interface", f.web)
		return err == nil
	})
	if err != nil {
		f.t.Fatalf("%v: %s", err, out)
	}
	f.serves(host)
}

// count has the guest call without a token.
func (f *engineFleet) count(host string, n int) {
	f.t.Helper()
	for range n {
		if !f.asGuest(host, "http://169.254.169.254/latest/meta-data/instance-id") {
			f.t.Fatalf("a guest of %s is not answered:\n%s", host, f.agents[host].logged())
		}
	}
	f.calls += n
}

func (f *engineFleet) create(host string) {
	f.t.Helper()
	f.made++
	f.web, f.calls = fmt.Sprint("web-", f.made), 0
	if out, err := f.replicas["r2"].operator("instance", "create", f.web); err != nil {
		f.t.Fatal(out)
	}
	f.attach(host)
	f.count(host, 4)
}

func (f *engineFleet) until() time.Time { return f.since.Add(24 * time.Hour) }

func (f *engineFleet) datapoints(replica string, period int) ([]datapoint, error) {
	return datapoints(f.t, f.replicas[replica].caller(f.t, client.ServiceLightsail), f.web, f.since, f.until(), period)
}

// freeAddress is an address of this machine at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
