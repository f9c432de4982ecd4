package etcdtest

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds the wait for a member; no test waits for it unless it fails.
const patience = 3 * time.Minute

// Cluster is one of real members, on this machine.
type Cluster struct {
	Members []*Member
	t       testing.TB
	server  string
	flags   []string
}

// Member is one process of a cluster, or where it was and will be again.
type Member struct {
	// Address is where clients find it, as host:port.
	Address string
	// Dir has its data.
	Dir  string
	name string
	peer string
	of   *Cluster

	mu      sync.Mutex
	process *exec.Cmd // nil: it does not run
	said    bytes.Buffer
}

// Start runs a cluster of so many members until the test ends, with further flags of etcd's.
func Start(t testing.TB, members int, flags ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t, server: Server(t), flags: flags}
	ports := freePorts(t, 2*members)
	for i := range members {
		c.Members = append(c.Members, &Member{
			Address: ports[2*i], peer: ports[2*i+1], name: fmt.Sprint("m", i), Dir: filepath.Join(t.TempDir(), "etcd"), of: c,
		})
	}
	t.Cleanup(func() {
		for _, m := range c.Members {
			m.Kill()
		}
	})
	for _, m := range c.Members {
		m.Start()
	}
	for _, m := range c.Members {
		m.Await()
	}
	return c
}

// Addresses are those of all members, as in the address of a store.
func (c *Cluster) Addresses() string {
	var all []string
	for _, m := range c.Members {
		all = append(all, m.Address)
	}
	return strings.Join(all, ",")
}

// freePorts are addresses on loopback that nobody listens at, of ports that the kernel gives to nobody who asks for any:
// between this and the member's start, another test could have got one of those.
func freePorts(t testing.TB, n int) (addresses []string) {
	t.Helper()
	const from, to, tries = 10_000, 30_000, 1000
	for range tries {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", from+rand.IntN(to-from)))
		if err != nil {
			continue
		}
		defer l.Close() // once all are taken, so that none is twice
		if addresses = append(addresses, l.Addr().String()); len(addresses) == n {
			return addresses
		}
	}
	t.Fatal("no free ports")
	return nil
}

// encrypted says whether the members speak TLS to clients.
func (c *Cluster) encrypted() bool {
	return slices.ContainsFunc(c.flags, func(flag string) bool { return strings.HasPrefix(flag, "--cert-file") })
}

// Start runs the member, with the data that it has.
func (m *Member) Start() {
	m.of.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	scheme := "http"
	if m.of.encrypted() {
		scheme = "https"
	}
	var cluster []string
	for _, other := range m.of.Members {
		cluster = append(cluster, other.name+"=http://"+other.peer)
	}
	m.process = exec.Command(m.of.server, append([]string{ //nolint:gosec // built by this package
		"--name", m.name, "--data-dir", m.Dir, "--log-level", "error", "--unsafe-no-fsync",
		"--listen-client-urls", scheme + "://" + m.Address, "--advertise-client-urls", scheme + "://" + m.Address,
		"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.peer,
		"--listen-metrics-urls", "http://127.0.0.1:0",
		"--initial-cluster", strings.Join(cluster, ","),
	}, m.of.flags...)...)
	m.said.Reset()
	m.process.Stdout, m.process.Stderr = &m.said, &m.said
	dieWith(m.process)
	if err := m.process.Start(); err != nil {
		m.process = nil
		m.of.t.Fatal(err)
	}
}

// Await waits until the member has a leader and serves; of one that speaks TLS, until it can be connected to.
func (m *Member) Await() {
	m.of.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		if m.serves() {
			return
		}
		if time.Now().After(deadline) {
			m.Kill()
			m.of.t.Fatalf("the member at %s does not come up:\n%s", m.Address, m.said.String())
		}
	}
}

func (m *Member) serves() bool {
	if m.of.encrypted() {
		conn, err := net.Dial("tcp", m.Address) //nolint:noctx // on loopback it never waits
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	answer, err := http.Get("http://" + m.Address + "/health") //nolint:noctx // bounded by the loop
	if err != nil {
		return false
	}
	text, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	return bytes.Contains(text, []byte("true"))
}

// Kill ends the member at once, and waits for its end.
func (m *Member) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil {
		return
	}
	_ = m.process.Process.Kill()
	_ = m.process.Wait()
	m.process = nil
}

// PID is the member's process.
func (m *Member) PID() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.process.Process.Pid
}
