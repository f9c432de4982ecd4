package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/store/etcd/etcdtest"
	"golang.org/x/sys/unix"
)

// fleetInside says whether this process has namespaces of its own for an example fleet: of networks, mounts and processes, so
// that what a test leaves behind ends with it, and is found before. Otherwise the test runs again, in such a one.
func fleetInside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		must(t, prepareInside())
		must(t, unix.Mount("proc", "/proc", "proc", 0, ""))
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	for _, program := range []string{"bash", "ip", "openssl", "curl", "setsid"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s on this machine", program)
		}
	}
	runInside(t, unix.CLONE_NEWPID, "OPENIMDS="+quick(), "ETCD="+etcdtest.Server(t))
	return false
}

// exampleFleet is the one of examples/fleet, brought up for a test.
type exampleFleet struct {
	t      *testing.T
	dir    string // where its state is
	engine string // of metrics; empty: the one that is found first
}

// exampleFleetName begins the names of its namespaces.
const exampleFleetName = "fleet"

func newExampleFleet(t *testing.T) *exampleFleet {
	return &exampleFleet{t: t, dir: filepath.Join(t.TempDir(), "state")}
}

// command is a script of the example with its arguments, as a user calls it in a checkout.
func (f *exampleFleet) command(script string, args ...string) *exec.Cmd {
	cmd := exec.Command("examples/fleet/"+script, args...) //nolint:gosec // of this checkout
	return f.within(cmd)
}

// within has a command run in the checkout, and find this fleet.
func (f *exampleFleet) within(cmd *exec.Cmd) *exec.Cmd {
	cmd.Dir = filepath.Join("..", "..")
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "OPENIMDS_") && !strings.HasPrefix(v, "AWS_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "FLEET_DIR="+f.dir, "FLEET_NAME="+exampleFleetName, "PROMETHEUS="+f.engine)
	return cmd
}

// script runs one, which must succeed.
func (f *exampleFleet) script(script string, args ...string) string {
	f.t.Helper()
	out, err := f.command(script, args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("%s %s: %v\n%s", script, args, err, out)
	}
	return string(out)
}

// up brings it up with so many guests on each host, until the test ends.
func (f *exampleFleet) up(guests int) {
	f.t.Helper()
	cmd := f.command("up")
	cmd.Env = append(cmd.Env, fmt.Sprint("FLEET_GUESTS=", guests))
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("up: %v\n%s", err, out)
	}
	f.t.Cleanup(func() { f.script("down") })
}

// namespace is that of a place.
func (f *exampleFleet) namespace(place string) *os.File {
	f.t.Helper()
	ns, err := os.Open(filepath.Join("/run/netns", exampleFleetName+"-"+place))
	must(f.t, err)
	f.t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// api is a client of a replica, on the operator's machine.
func (f *exampleFleet) api(address string) *client.Client {
	f.t.Helper()
	operator := f.namespace("operator")
	ca, err := os.ReadFile(filepath.Join(f.dir, "ca.pem"))
	must(f.t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	key, err := credentials.Find(f.t.Context(), credentials.Search{
		Profile: "default", DefaultRegion: defaultRegion, ConfigFiles: []string{}, CredentialsFiles: []string{filepath.Join(f.dir, "api-1", credentialsFile)},
	})
	must(f.t, err)
	c, err := client.New(client.Config{
		Endpoint: "https://" + address + ":1339", Region: defaultRegion, Credentials: key.Credentials,
		HTTP: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
				err = inside(operator, func() error {
					c, err = new(net.Dialer).DialContext(ctx, network, addr)
					return err
				})
				return c, err
			},
		}},
	})
	must(f.t, err)
	return c
}

// left is what there is of a fleet: processes beside this one, namespaces, and its directory.
func (f *exampleFleet) left() (left []string) {
	f.t.Helper()
	all, err := os.ReadDir("/proc")
	must(f.t, err)
	for _, e := range all {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if len(line) > 0 { // else it has ended, and nobody has asked how: their parent is this test
			left = append(left, fmt.Sprintf("process %d: %s", pid, bytes.ReplaceAll(line, []byte{0}, []byte(" "))))
		}
	}
	spaces, err := os.ReadDir("/run/netns")
	must(f.t, err)
	for _, e := range spaces {
		left = append(left, "namespace "+e.Name())
	}
	if _, err := os.Stat(f.dir); err == nil {
		left = append(left, f.dir)
	}
	return left
}

// TestFleetExample does what docs/FLEET.md tells a new user to do.
func TestFleetExample(t *testing.T) {
	t.Parallel()
	if !fleetInside(t) {
		return
	}
	f := newExampleFleet(t)
	t.Cleanup(func() { f.script("down") })
	// What a command that only looks shows sooner or later, by a part of the command.
	shows := []struct{ command, pattern string }{
		{"host list", `(?s)host-1 +there.*host-2 +there`},
		{"operator openimds attach   ", `(?s)web-1 +attached +host host-1 interface tap1\n.*web-6 +attached +host host-2 interface tap3\n`},
		{"curl -s http", `^i-[0-9a-f]{17}$`},
		{"# 401", `^401\n$`},
		{"callers web-1", `web-1 +10\.11\.1\.2 +1 `},
		{"# the same as before", `^ID$`},
		{"host drain", `(?s)drained since.*web-1 +attached`},
		{"metrics web-2", `(?m)^web-2 +1 `},
		{"query=last_over_time", `"host":"host-1"`},
		{"query=openimds_store_up", `(?s)10\.77\.0\.21:1339.*10\.77\.0\.22:1339`},
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "FLEET.md"))
	must(t, err)
	_, chapter, _ := strings.Cut(string(page), "\n## Try it\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	met := make([]bool, len(shows))
	var id string
	for line := range strings.Lines(chapter) {
		line, ok := strings.CutPrefix(line, "    ")
		if line = strings.TrimSpace(line); !ok || strings.HasPrefix(line, "make ") {
			continue
		}
		if !strings.HasPrefix(line, "sudo ") {
			t.Fatalf("%q is not done with sudo", line)
		}
		if strings.Contains(line, "run metrics") && !exists(filepath.Join(f.dir, "metrics")) {
			t.Logf("left out, for there is no engine of metrics: %s", line)
			for i, s := range shows {
				met[i] = met[i] || strings.HasPrefix(s.command, "query=")
			}
			continue
		}
		pattern := ""
		for i, s := range shows {
			if strings.Contains(line, s.command) {
				pattern, met[i] = strings.ReplaceAll(s.pattern, "ID", id), true
			}
		}
		command := strings.ReplaceAll(strings.TrimPrefix(line, "sudo "), "/var/lib/openimds-fleet", f.dir)
		var out []byte
		if eventually(func() bool {
			out, err = f.within(exec.Command("bash", "-c", command)).CombinedOutput()
			if err != nil && pattern == "" {
				t.Fatalf("%s: %v\n%s", line, err, out)
			}
			matches := err == nil && regexp.MustCompile(pattern).Match(out)
			if !matches {
				time.Sleep(50 * time.Millisecond)
			}
			return matches
		}) != nil {
			t.Fatalf("%s does not show %s, but: %s", line, pattern, out)
		}
		if strings.Contains(line, "curl") && id == "" {
			id = string(out)
		}
		if strings.HasSuffix(line, "fleet/up") {
			if again := f.script("up"); !strings.Contains(again, "it is up") {
				t.Errorf("a second up says %q", again)
			}
		}
	}
	for i, s := range shows {
		if !met[i] {
			t.Errorf("docs/FLEET.md has no command with %q", s.command)
		}
	}
	if left := f.left(); len(left) > 0 {
		t.Errorf("it leaves behind %q", left)
	}
}

// TestFleetExampleCounts has an instance of the example called, at a host whose agent is started anew, while a server is killed,
// and at the host that it moves to: by each engine of metrics both servers tell of as many calls as were made.
func TestFleetExampleCounts(t *testing.T) {
	t.Parallel()
	engines := map[string]string{}
	for _, name := range []string{"prometheus", "victoria-metrics"} {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("%s is not installed (apt-get install %s)", name, name)
		}
		engines[name] = program
	}
	if !fleetInside(t) {
		return
	}
	for name, program := range engines {
		t.Run(name, func(t *testing.T) {
			f := newExampleFleet(t)
			f.engine = program
			f.up(1)
			servers := map[string]*client.Client{"api-1": f.api("10.77.0.21"), "api-2": f.api("10.77.0.22")}
			operate := func(args ...string) { f.script("run", append([]string{"operator", "openimds"}, args...)...) }
			since, calls := time.Now().Add(-time.Hour).Truncate(time.Minute), 0
			guest := func(host string, curl ...string) bool {
				out, err := f.command("run", append([]string{host + "-tap0", "curl", "-s", "-o", os.DevNull, "-w", "%{http_code}"}, curl...)...).Output()
				return err == nil && string(out) == "200"
			}
			call := func(host string, n int) {
				t.Helper()
				token := []string{"-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60", "http://169.254.169.254/latest/api/token"}
				must(t, eventually(func() bool { time.Sleep(50 * time.Millisecond); return guest(host, token...) }))
				for range n {
					if !guest(host, "http://169.254.169.254/latest/meta-data/instance-id") {
						t.Fatalf("a call at %s is not answered", host)
					}
				}
				calls += n
			}
			tell := func() {
				t.Helper()
				for name, server := range servers {
					var sum float64
					var refused error
					_ = eventually(func() bool {
						time.Sleep(50 * time.Millisecond)
						var points []datapoint
						points, refused = datapoints(t, server, "counted", since, since.Add(12*time.Hour), 300)
						sum = 0
						for _, p := range points {
							sum += p.Sum
						}
						return refused == nil && sum >= float64(calls)
					})
					if refused != nil || sum != float64(calls) {
						t.Fatalf("%s tells of %v calls of %d: %v", name, sum, calls, refused)
					}
				}
			}
			operate("instance", "create", "counted")
			operate("attach", "counted", "--host", "host-1", "--interface", "tap0")
			call("host-1", 5)
			tell()
			f.script("stop", "host-1")
			f.script("start", "host-1")
			call("host-1", 4)
			f.script("stop", "-KILL", "api-1")
			call("host-1", 3)
			f.script("start", "api-1")
			operate("attach", "counted", "--host", "host-2", "--interface", "tap0")
			call("host-2", 7)
			tell()
			f.script("down")
		})
	}
}

// TestFleetExampleGivesUp interrupts examples/fleet/up at each of its steps, and has a part of it fail: what it says is
// the reason, and nothing is left.
func TestFleetExampleGivesUp(t *testing.T) {
	t.Parallel()
	if !fleetInside(t) {
		return
	}
	f := newExampleFleet(t)
	steps := 0
	for at := 1; ; at++ {
		cmd := f.command("up")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as of a terminal, whose Ctrl-C goes to all of them
		var said lineWatch
		said.at, said.then = at, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
		cmd.Stderr = &said
		err := cmd.Run()
		if strings.Contains(said.text.String(), "it is up.") {
			f.script("down")
			break
		}
		steps++
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 130 {
			t.Errorf("interrupted after line %d it ends with %v: %s", at, err, said.text.String())
		}
		if left := f.left(); len(left) > 0 {
			t.Fatalf("interrupted after line %d it leaves behind %q", at, left)
		}
	}
	if steps < 4 {
		t.Errorf("it was interrupted at %d steps", steps)
	}
	for variable, reason := range map[string]string{
		"ETCD=/bin/false": "fleet: etcd-1 ended: it said nothing", "ETCD=/bin/nowhere": "fleet: etcd-1 ended: ", "FLEET_GUESTS=many": "fleet: FLEET_GUESTS is from 1 to 99, not many",
	} {
		cmd := f.command("up")
		cmd.Env = append(cmd.Env, variable)
		out, err := cmd.CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.HasPrefix(lines[len(lines)-1], reason) {
			t.Errorf("with %s it ends with %v: %s", variable, err, out)
		}
		if left := f.left(); len(left) > 0 {
			t.Fatalf("with %s it leaves behind %q", variable, left)
		}
	}
	t.Logf("interrupted at %d steps", steps)
}

// lineWatch keeps what is written, and does something at a certain line of it.
type lineWatch struct {
	text  bytes.Buffer
	lines int
	at    int
	then  func()
}

func (w *lineWatch) Write(text []byte) (int, error) {
	before := w.lines
	w.lines += bytes.Count(text, []byte("\n"))
	if before < w.at && w.lines >= w.at {
		w.then()
	}
	return w.text.Write(text)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
