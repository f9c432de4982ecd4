package trace

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// program finds a client, or skips the test.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(err)
	}
	return path
}

// Real clients at once, each of which is named by what it is.
func TestClients(t *testing.T) {
	curl, wget, python, bash := program(t, "curl"), program(t, "wget"), program(t, "python3"), program(t, "bash")
	n := newNetwork(t)
	n.serve(http.HandlerFunc(metadata))
	w := watch(t, Config{})
	cookie := n.cookie()
	const v2 = `
import urllib.request as u
base = "http://169.254.169.254/latest/"
token = u.urlopen(u.Request(base + "api/token", method="PUT", headers={"X-aws-ec2-metadata-token-ttl-seconds": "60"})).read().decode()
u.urlopen(u.Request(base + "meta-data/instance-id", headers={"X-aws-ec2-metadata-token": token})).read()
`
	type want struct {
		version                                Version
		method, path, group, agent, comm, argv string
		status                                 int
		forwarded                              bool
		service                                Service
	}
	for _, row := range []struct {
		name string
		args []string
		want []want
	}{
		{"curl v1", []string{curl, "-s", "http://169.254.169.254/latest/meta-data/instance-id"},
			[]want{{V1, "GET", "/latest/meta-data/instance-id", "meta-data", "curl/", "curl", "instance-id", 200, false, Metadata}}},
		{"curl IPv6", []string{curl, "-s", "http://[fd00:ec2::254]/latest/dynamic/instance-identity/document"},
			[]want{{V1, "GET", "/latest/dynamic/instance-identity/document", "dynamic/instance-identity", "curl/", "curl", "[fd00:ec2::254]", 200, false, Metadata}}},
		{"curl nothing there", []string{curl, "-s", "http://169.254.169.254/latest/none"},
			[]want{{V1, "GET", "/latest/none", "other", "curl/", "curl", "none", 404, false, Metadata}}},
		{"wget", []string{wget, "-qO", os.DevNull, "http://169.254.169.254/latest/user-data"},
			[]want{{V1, "GET", "/latest/user-data", "user-data", "Wget/", "wget", "user-data", 200, false, Metadata}}},
		{"python v2", []string{python, "-c", v2}, []want{
			{Token, "PUT", "/latest/api/token", "api/token", "Python-urllib/", "python3", "-c", 200, false, Metadata},
			{V2, "GET", "/latest/meta-data/instance-id", "meta-data", "Python-urllib/", "python3", "-c", 200, false, Metadata}}},
		{"through a proxy", []string{curl, "-s", "-H", "X-Forwarded-For: 10.0.0.1", "http://169.254.169.254/latest/meta-data/"},
			[]want{{V1, "GET", "/latest/meta-data/", "meta-data", "curl/", "curl", "X-Forwarded-For", 200, true, Metadata}}},
		{"container credentials", []string{curl, "-s", "http://169.254.170.2/v2/credentials/0a1b2c3d-canary"},
			[]want{{None, "GET", "", "credentials", "curl/", "curl", "169.254.170.2", 200, false, ContainerCredentials}}},
		{"pod identity", []string{curl, "-s", "http://[fd00:ec2::23]/v1/credentials"},
			[]want{{None, "GET", "", "credentials", "curl/", "curl", "v1/credentials", 200, false, ContainerCredentials}}},
		{"several on one connection", []string{bash, "-c", `exec 3<>/dev/tcp/169.254.169.254/80; printf 'GET /latest/meta-data/a HTTP/1.1\r\nHost: x\r\n\r\n' >&3; read -r l <&3`},
			[]want{{V1, "GET", "/latest/meta-data/a", "meta-data", "", "bash", "/dev/tcp", 200, false, Metadata}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			pid := n.run(row.args[0], row.args[1:]...)
			for i, c := range w.of(len(row.want), by(pid)) {
				want := row.want[i]
				if c.Version != want.version || c.Method != want.method || c.Path != want.path || c.Group != want.group || c.Status != want.status ||
					c.Forwarded != want.forwarded || c.Service != want.service || !strings.HasPrefix(c.UserAgent, want.agent) ||
					!strings.HasPrefix(c.Process.Comm, want.comm) || !strings.Contains(strings.Join(c.Process.Argv, " "), want.argv) ||
					c.Process.Cgroup == "" || c.Process.Exe == "" || c.Process.UID != 0 || c.Time.Before(time.Now().Add(-time.Hour)) {
					t.Errorf("got  %+v\nwant %+v", c, want)
				}
				if c.Version == Token && c.HopsLeft == 0 {
					t.Errorf("the token's hops are unknown: %+v", c)
				}
				if c.Netns != cookie || c.Source.Addr() != c.Address || c.Source.Port() == 0 { // on one machine both ends are at that address
					t.Errorf("from %v in the namespace %d, want one of %v in %d", c.Source, c.Netns, c.Address, cookie)
				}
			}
		})
	}
}

// cookie is what the kernel calls the namespace.
func (n *network) cookie() (cookie uint64) {
	n.t.Helper()
	var err error
	n.in(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err == nil {
			cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
			_ = unix.Close(fd)
		}
	})
	if err != nil {
		n.t.Skip(err)
	}
	return cookie
}

// A process in a control group of its own, which ends at once, is known by that group.
func TestOwnCgroup(t *testing.T) {
	bash := program(t, "bash")
	root := mounted()
	if root == "" {
		t.Skip("no cgroup2 is mounted")
	}
	id := strings.Repeat("5e", 32)
	group := filepath.Join(root, "docker-"+id+".scope")
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = os.Remove(group) })
	n := newNetwork(t)
	n.serve(http.HandlerFunc(metadata))
	w := watch(t, Config{})
	pid := n.run(bash, "-c", "echo $$ > "+group+"/cgroup.procs; exec "+bash+" -c '"+instant+"'")
	c := w.of(1, by(pid))[0]
	if c.Process.Container == nil || c.Process.Container.ID != id || c.Process.Container.Engine != "docker" ||
		!strings.HasSuffix(c.Process.Cgroup, "/docker-"+id+".scope") || c.Version != V1 || c.Process.Comm != "bash" {
		t.Errorf("%+v, container %+v", c, c.Process.Container)
	}
}

// instant is a script that asks and ends as soon as the answer begins.
const instant = `exec 3<>/dev/tcp/169.254.169.254/80; printf "GET /latest/meta-data/x HTTP/1.1\r\nHost: x\r\n\r\n" >&3; read -r l <&3`

// processesToStart is how many the tests of many start; OPENIMDS_TEST_PROCESSES=1000 has as many as figures are given for.
func processesToStart(t *testing.T) int {
	if n, err := strconv.Atoi(os.Getenv("OPENIMDS_TEST_PROCESSES")); err == nil && n > 0 {
		return n
	}
	if testing.Short() {
		return 50
	}
	return 200
}

// Processes of 20 ms, and such that end right after the answer: every one of them is named.
func TestShortLives(t *testing.T) {
	bash := program(t, "bash")
	n := newNetwork(t)
	n.serve(http.HandlerFunc(metadata))
	w := watch(t, Config{})
	for name, script := range map[string]string{"20 ms": instant + "; read -t 0.02 -u 3 l; read -t 0.02 l < <(sleep 0.02)", "at once": instant} {
		t.Run(name, func(t *testing.T) {
			count := processesToStart(t)
			pids := map[int]bool{}
			var mu sync.Mutex
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for range count / 4 {
						cmd := n.start(bash, "-c", script+"; : "+name)
						mu.Lock()
						pids[cmd.Process.Pid] = true
						mu.Unlock()
						_ = cmd.Wait()
					}
				})
			}
			all.Wait()
			complete := map[string]int{}
			calls := w.of(len(pids), func(c Call) bool { return pids[c.Process.PID] })
			for _, c := range calls {
				p := c.Process
				for what, ok := range map[string]bool{
					"argv": slices.Equal(p.Argv, []string{bash, "-c", script + "; : " + name}), "exe": filepath.Base(p.Exe) == "bash",
					"comm": p.Comm == "bash", "cgroup": p.Cgroup != "", "uid": p.UID == 0, "v1": c.Version == V1, "parents": len(p.Parents) > 0,
				} {
					if ok {
						complete[what]++
					}
				}
			}
			t.Logf("%s: of %d processes are known: %v", name, len(pids), complete)
			for _, what := range []string{"argv", "comm", "cgroup", "uid", "exe", "v1"} {
				if complete[what] != len(pids) {
					t.Errorf("%s of %d of %d", what, complete[what], len(pids))
				}
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.gaps) > 0 {
				t.Errorf("gaps: %+v", w.gaps)
			}
		})
	}
}

// wireServer answers each request on a connection that stays, and tells what it has read.
func wireServer(n *network, addr string, answer func(c net.Conn)) {
	n.t.Helper()
	var l net.Listener
	var err error
	n.in(func() { l, err = net.Listen("tcp", net.JoinHostPort(addr, "80")) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
}

// dial connects from this process, in the network.
func (n *network) dial(addr string) net.Conn {
	n.t.Helper()
	var c net.Conn
	var err error
	n.in(func() { c, err = net.Dial("tcp", net.JoinHostPort(addr, "80")) })
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	return c
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// echo answers whatever ends with an empty line, again and again.
func echo(c net.Conn) {
	defer func() { _ = c.Close() }()
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if lines.Text() == "" {
			if _, err := c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")); err != nil {
				return
			}
		}
	}
}

// A connection that stays, requests in pieces, several in one packet, bodies.
func TestOneConnection(t *testing.T) {
	n := newNetwork(t)
	wireServer(n, "169.254.169.254", echo)
	resident := n.start("sleep", "600") // a namespace is known by the processes in it
	t.Cleanup(func() { _ = resident.Process.Kill(); _ = resident.Wait() })
	before := n.dial("169.254.169.254") // open when the look-out begins
	send(t, before, "GET /latest/meta-data/early HTTP/1.1\r\n\r\n")
	_, _ = bufio.NewReader(before).ReadString('\n')
	w := watch(t, Config{})
	mine := func(path string) func(Call) bool {
		return func(c Call) bool { return c.Process.PID == os.Getpid() && strings.HasPrefix(c.Path, path) }
	}
	send(t, before, "GET /latest/meta-data/open HTTP/1.1\r\n\r\n")
	w.of(1, mine("/latest/meta-data/open"))

	c := n.dial("169.254.169.254")
	answers := bufio.NewReader(c)
	for i, pieces := range [][]string{
		{"GET /latest/me", "ta-data/p1 HTTP/1.1\r\nUser-Ag", "ent: pieces\r\nX-aws-ec2-metadata-tok", "en: canary\r\n\r", "\n"},
		{"GET /latest/meta-data/p2 HTTP/1.1\r\n\r\n"},
		{"GET /latest/meta-data/p3 HTTP/1.1\r\nX-Long: " + strings.Repeat("y", 3000) + "\r\nx-aws-ec2-metadata-token: canary\r\n\r\n"},
		{"GET http://169.254.169.254/latest/meta-data/p4?a=canary HTTP/1.1\nHost: x\n\n"},
	} {
		for _, piece := range pieces {
			send(t, c, piece)
			time.Sleep(time.Millisecond) // so that they are packets; nothing depends on it
		}
		call := w.of(1, mine(fmt.Sprintf("/latest/meta-data/p%d", i+1)))[0]
		if want := []Version{V2, V1, V2, V1}[i]; call.Version != want || call.Status != 200 {
			t.Errorf("%+v, want %s", call, want)
		}
		if text := fmt.Sprintf("%+v", call); strings.Contains(text, "canary") {
			t.Errorf("a secret is told: %s", text)
		}
		for range 4 { // the answer's lines and its body, which does not end with one
			if line, err := answers.ReadString('\n'); err != nil || line == "\r\n" {
				break
			}
		}
		_, _ = answers.ReadByte()
	}
	send(t, c, "PUT /latest/api/token HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET /latest/meta-data/p5 HTTP/1.1\r\n\r\n")
	w.of(1, mine("/latest/api/token"))
	w.of(1, mine("/latest/meta-data/p5"))
}
