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
	in   func(start func() error) error // calls start where the member's process is to begin

	mu      sync.Mutex
	process *exec.Cmd // nil: it does not run
	said    bytes.Buffer
}

// Place is where a member is, of a cluster that is not to be on loopback.
type Place struct {
	// Address is where clients find it, and Peer where the other members do, as host:port.
	Address, Peer string
	// In calls start where the member's process is to begin: it is called on a thread that is in the member's network.
	In func(start func() error) error
}

// Start runs a cluster of so many members on loopback until the test ends, with further flags of etcd's.
func Start(t testing.TB, members int, flags ...string) *Cluster {
	t.Helper()
	ports := freePorts(t, 2*members)
	var places []Place
	for i := range members {
		places = append(places, Place{ports[2*i], ports[2*i+1], func(start func() error) error { return start() }})
	}
	return StartAt(t, places, flags...)
}

// StartAt runs a cluster as [Start] does, with a member at each place.
func StartAt(t testing.TB, places []Place, flags ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t, server: Server(t), flags: flags}
	for i, at := range places {
		c.Members = append(c.Members, &Member{
			Address: at.Address, peer: at.Peer, in: at.In, name: fmt.Sprint("m", i), Dir: filepath.Join(t.TempDir(), "etcd"), of: c,
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
	if err := m.in(m.process.Start); err != nil {
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
