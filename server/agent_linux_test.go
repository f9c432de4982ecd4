package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/usage/history"
)

// invite makes a join token of a host.
func invite(t *testing.T, s *Server, name string) *openimds.Invitation {
	t.Helper()
	i, err := s.Service().EnrollHost(t.Context(), name, time.Hour)
	must(t, err)
	return &i
}

// agentProcess is an agent that serves until stop, which returns what Serve returned.
type agentProcess struct {
	*Agent
	stop func() error
	log  *lockedBuffer
}

func startAgent(t *testing.T, cfg AgentConfig) *agentProcess {
	t.Helper()
	log := &lockedBuffer{}
	cfg.Log = slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	a := openAgent(t, ctx, cfg)
	ended := make(chan error, 1)
	go func() { ended <- a.Serve(ctx) }()
	var result error
	stop := sync.OnceFunc(func() {
		cancel()
		result = <-ended
		a.Close()
	})
	p := &agentProcess{Agent: a, log: log}
	p.stop = func() error { stop(); return result }
	t.Cleanup(func() {
		_ = p.stop()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return p
}

// openAgent is [OpenAgent] of an agent that is not in a hurry.
func openAgent(t *testing.T, ctx context.Context, cfg AgentConfig) (a *Agent) {
	t.Helper()
	cfg.StopTimeout = patience
	must(t, eventually(func() (opened bool) {
		var err error
		if a, err = OpenAgent(ctx, cfg); err != nil && !strings.Contains(err.Error(), "cannot be reached") { // as in time on a busy machine
			t.Fatal(err)
		}
		return err == nil
	}))
	a.joinTime = patience // an agent that cannot reach its replica does not wait for it
	return a
}

// guestOf has the agent answer as an instance at an address of this machine, as a command that is handed over.
func (p *agentProcess) guestOf(t *testing.T, instance string) (address string) {
	t.Helper()
	c := commands{&p.hosting}
	must(t, eventually(func() bool {
		time.Sleep(time.Millisecond)
		about, known := p.copy.About()
		if !known || len(about.Regions) == 0 {
			return false
		}
		_, err := p.kept.Get(t.Context(), "attachment/"+instance)
		return err == nil && p.opened()
	}))
	must(t, c.Seat(t.Context(), instance))
	listeners, err := imds.Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	go func() { _ = c.Serve(listeners[0], instance) }()
	t.Cleanup(func() { _ = listeners[0].Close() })
	return listeners[0].Addr().String()
}

// opened says whether the guest sides are there.
func (p *agentProcess) opened() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

func answered200(t *testing.T, addr, path, token string) (int, string) {
	t.Helper()
	i := &installation{imds: addr}
	return i.asks(t, "latest/"+path, token, "curl/8")
}

// ownPort is one that is free at an address where no other test listens, so that it still is at a second start.
func ownPort(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp", address+":0")
	must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// An agent serves what is attached to its host as a server does: what is changed is obeyed once it is applied; while the
// replica is away guests are answered as before, also by an agent that was started then; what was changed meanwhile
// arrives afterwards; what it counts is what the replica tells; and an agent that was evicted serves nobody.
func TestAgent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := forTest(filepath.Join(dir, "replica"))
	cfg.HostsListen = ownPort(t, "127.0.77.3")
	r := openInstallation(t, cfg)
	_, err := r.server.Service().CreateInstances(t.Context(), control.InstancesLaunch{Names: []string{"web"}})
	must(t, err)

	agentCfg := AgentDefaults()
	agentCfg.DataDir, agentCfg.Join = filepath.Join(dir, "agent"), invite(t, r.server, "host-a")
	a := startAgent(t, agentCfg)
	if a.host == nil {
		t.Skip("skipped: this process cannot attach instances: ", a.HostNetwork().cannot())
	}
	service := r.server.Service()
	attach := func() error {
		_, err := service.AttachInstance(t.Context(), openimds.Attachment{Instance: "web", Host: "host-a", Interface: "tapnone0"})
		return err
	}
	must(t, eventually(func() bool { time.Sleep(time.Millisecond); return attach() == nil }))
	at := a.guestOf(t, "web")
	const id = "meta-data/instance-id"
	in, err := service.Instance(t.Context(), "web")
	must(t, err)
	if status, body := answered200(t, at, id, ""); status != http.StatusOK || body != in.ID {
		t.Fatalf("%d %q", status, body)
	}
	must(t, eventually(func() bool {
		status, _ := answered200(t, at, "dynamic/instance-identity/rsa2048", "")
		return status == http.StatusOK
	}))
	require := func(tokens openimds.TokensMode) {
		t.Helper()
		op, err := service.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{Tokens: &tokens})
		must(t, err)
		must(t, eventually(func() bool {
			now, err := service.Operation(t.Context(), op.ID)
			return err == nil && now.Status == openimds.OperationSucceeded
		}))
	}
	for range 10 {
		require(openimds.TokensRequired)
		if status, _ := answered200(t, at, id, ""); status != http.StatusUnauthorized {
			t.Fatalf("tokens are required, and a call without one is answered with %d", status)
		}
		require(openimds.TokensOptional)
		if status, _ := answered200(t, at, id, ""); status != http.StatusOK {
			t.Fatalf("tokens are optional, and a call without one is answered with %d", status)
		}
	}
	require(openimds.TokensRequired)

	// The replica goes, the agent is started anew, and nobody notices.
	seat, err := r.server.store.Get(t.Context(), records.SeatKey("web", "host-a"))
	must(t, err)
	r.stop()
	if status, _ := answered200(t, at, id, ""); status != http.StatusUnauthorized {
		t.Errorf("without a replica: %d", status)
	}
	must(t, a.stop())
	agentCfg.Join = nil
	a = startAgent(t, agentCfg)
	at = a.guestOf(t, "web")
	token := (&installation{imds: at}).token(t)
	if status, body := answered200(t, at, id, token); status != http.StatusOK || body != in.ID {
		t.Errorf("started without a replica: %d %q", status, body)
	}
	if status, _ := answered200(t, at, "dynamic/instance-identity/rsa2048", token); status != http.StatusOK {
		t.Errorf("what was signed before: %d", status)
	}
	if status, _ := answered200(t, at, id, ""); status != http.StatusUnauthorized {
		t.Errorf("started without a replica, it is more permissive: %d", status)
	}

	// It comes back, and what is changed arrives.
	r = openInstallation(t, cfg)
	service = r.server.Service()
	must(t, eventually(func() bool { // the seat of the agent that was started anew
		now, err := r.server.store.Get(t.Context(), seat.Key)
		return err == nil && now.Lease != seat.Lease
	}))
	require(openimds.TokensOptional)
	if status, _ := answered200(t, at, id, ""); status != http.StatusOK {
		t.Errorf("what was changed after the replica came back: %d", status)
	}

	// What is changed while the agent is not there waits for nobody; so it is obeyed from the first answer on.
	must(t, a.stop())
	require(openimds.TokensRequired)
	a = startAgent(t, agentCfg)
	at = a.guestOf(t, "web")
	if status, _ := answered200(t, at, id, ""); status != http.StatusUnauthorized {
		t.Errorf("an agent that was not there when tokens were required answers a call without one with %d", status)
	}

	// What it counts now is not known as a whole to whoever hears no more of it than by now, but once it has ended well.
	whole := func() bool {
		t.Helper()
		later := func() time.Time { return time.Now().Add(2 * openimds.MetricPeriod) }
		h := history.New(history.Config{Store: r.server.store, Host: "another", Now: later})
		points, err := h.Points(t.Context(), in.ID, []string{openimds.MetricNoTokenRejected}, time.Now().Add(-time.Hour), later(), 2*time.Hour)
		must(t, err)
		return len(points[0]) == 1 && points[0][0].Partial == 0
	}
	must(t, eventually(func() bool {
		time.Sleep(time.Millisecond)
		marks, err := r.server.store.List(t.Context(), store.Range{Prefix: history.MarkKey("host-a")})
		must(t, err)
		return len(marks.Records) > 0
	}))
	if whole() {
		t.Error("what a host counts that is cut off now is taken for all")
	}
	// All calls without a token are known to the replica, each once.
	must(t, a.stop())
	if !whole() {
		t.Error("what a host has counted that has ended well is not taken for all")
	}
	sum := func(metric string) (n int64) {
		points, err := r.server.usage.Points(t.Context(), in.ID, []string{metric}, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), time.Hour)
		must(t, err)
		for _, p := range points[0] {
			n += int64(p.Sum)
		}
		return n
	}
	a = startAgent(t, agentCfg)
	a.guestOf(t, "web")
	must(t, eventually(func() bool { return sum(openimds.MetricNoTokenRejected) >= 13 }))
	if refused := sum(openimds.MetricNoTokenRejected); refused != 13 {
		t.Errorf("%d calls were refused, 13 were made", refused)
	}
	aside := filepath.Join(agentCfg.DataDir, copyFile+asideMark+"20261126T120000")
	must(t, os.WriteFile(aside, []byte("of earlier"), 0o600))
	must(t, service.EvictHost(t.Context(), "host-a"))
	select {
	case <-a.client.Evicted():
	case <-time.After(patience):
		t.Fatal("the agent does not hear that it was evicted")
	}
	must(t, eventually(func() bool { // also where it is killed before its end
		page, err := a.kept.List(t.Context(), store.Range{})
		return errors.Is(err, store.ErrClosed) || err == nil && len(page.Records) == 0
	}))
	if err := a.stop(); !errors.Is(err, hostlink.ErrEvicted) {
		t.Errorf("an agent that was evicted: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(agentCfg.DataDir, copyFile+"*")); err != nil || len(left) > 0 {
		t.Errorf("what it has served is still there: %q (%v)", left, err)
	}
	if audit := readAudit(t, r); !strings.Contains(audit, "evicted") {
		t.Errorf("the audit log has no word of who was cut off: %s", audit)
	}
}

// What is damaged is said and put aside, and nobody is answered from it.
func TestAgentDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := forTest(filepath.Join(dir, "replica"))
	cfg.HostsListen = "127.0.0.1:0"
	r := openInstallation(t, cfg)
	agentCfg := AgentDefaults()
	agentCfg.DataDir, agentCfg.Join = filepath.Join(dir, "agent"), invite(t, r.server, "host-a")
	a := startAgent(t, agentCfg)
	must(t, eventually(func() bool { time.Sleep(time.Millisecond); return a.opened() }))
	must(t, a.stop())
	path := filepath.Join(agentCfg.DataDir, copyFile)
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, text[:len(text)/2], 0o600))
	r.stop()
	a = startAgent(t, agentCfg)
	if log := a.log.String(); !strings.Contains(log, "is damaged and was put aside") {
		t.Errorf("the log says %q", log)
	}
	if _, known := a.copy.About(); known {
		t.Error("something is served that nobody knows to be right")
	}
	aside, err := filepath.Glob(path + ".damaged-*")
	must(t, err)
	if len(aside) != 1 {
		t.Errorf("put aside: %q", aside)
	}
}

// A host says that it is there once it is in step: what was changed before that waits for nobody.
func TestAgentIsThereInStep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := forTest(filepath.Join(dir, "replica"))
	cfg.HostsListen = "127.0.0.1:0"
	r := openInstallation(t, cfg)
	service := r.server.Service()
	_, err := service.CreateInstances(t.Context(), control.InstancesLaunch{Names: []string{"web"}})
	must(t, err)
	agentCfg := AgentDefaults()
	agentCfg.DataDir, agentCfg.Join = filepath.Join(dir, "agent"), invite(t, r.server, "host-a")
	a := openAgent(t, t.Context(), agentCfg)
	defer a.Close()
	region := hostlink.InStep{Region: a.client.Region(cfg.Region, true, ""), Copy: a.copy, Within: joinTime}
	type joined struct {
		known bool
		err   error
	}
	there := make(chan joined, 1)
	go func() {
		_, err := region.JoinHost(t.Context(), true)
		_, known := a.copy.About()
		there <- joined{known, err}
	}()
	tokens := openimds.TokensRequired
	for range 20 { // as many commits as leave a host that does not wait the time to join
		_, err := service.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{Tokens: &tokens})
		must(t, err)
		tokens = map[openimds.TokensMode]openimds.TokensMode{openimds.TokensRequired: openimds.TokensOptional, openimds.TokensOptional: openimds.TokensRequired}[tokens]
	}
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	following.Go(func() { a.copy.Follow(ctx, a.client) })
	if j := <-there; j.err != nil || !j.known {
		t.Errorf("the host is there, and knows what it serves: %t (%v)", j.known, j.err)
	}
	r.stop()
	must(t, eventually(func() bool {
		_, err := region.JoinHost(t.Context(), false)
		return errors.Is(err, hostlink.ErrBehind)
	}))
}

func present(t *testing.T, s store.Store, key string) bool {
	t.Helper()
	_, err := s.Get(t.Context(), key)
	return err == nil
}

// An instance moves between two agents: the former one's seat goes first, both hosts are told of as they are, and one that
// is drained gets nothing.
func TestAgentsMove(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := forTest(filepath.Join(dir, "replica"))
	cfg.HostsListen = "127.0.0.1:0"
	r := openInstallation(t, cfg)
	service := r.server.Service()
	_, err := service.CreateInstances(t.Context(), control.InstancesLaunch{Names: []string{"web"}})
	must(t, err)
	for _, name := range []string{"host-a", "host-b"} {
		agentCfg := AgentDefaults()
		agentCfg.DataDir, agentCfg.Join, agentCfg.Version = filepath.Join(dir, name), invite(t, r.server, name), "version of "+name
		a := startAgent(t, agentCfg)
		if a.host == nil {
			t.Skip("skipped: this process cannot attach instances: ", a.HostNetwork().cannot())
		}
		must(t, eventually(func() bool { return present(t, r.server.store, records.HostKey(name)) }))
	}
	before, err := service.Instance(t.Context(), "web")
	must(t, err)
	for _, to := range []string{"host-a", "host-b", "host-a", "host-b"} {
		from := map[string]string{"host-a": "host-b", "host-b": "host-a"}[to]
		_, err := service.AttachInstance(t.Context(), openimds.Attachment{Instance: "web", Host: to, Interface: "tapnone0"})
		must(t, err)
		must(t, eventually(func() bool { return present(t, r.server.store, records.SeatKey("web", to)) }))
		if present(t, r.server.store, records.SeatKey("web", from)) {
			t.Errorf("%s serves the instance, and %s still does", to, from)
		}
		at, err := service.Attachment(t.Context(), "web")
		must(t, err)
		if len(at.From) > 0 {
			t.Errorf("%s serves the instance, and %v have yet to let go", to, at.From)
		}
	}
	after, err := service.Instance(t.Context(), "web")
	must(t, err)
	if string(before.TokenKey) != string(after.TokenKey) {
		t.Error("its tokens are good no more")
	}
	must(t, service.DrainHost(t.Context(), "host-a"))
	if _, err := service.AttachInstance(t.Context(), openimds.Attachment{Instance: "web", Host: "host-a", Interface: "tapnone0"}); openimds.KindOf(err) != openimds.OperationFailure {
		t.Errorf("a drained host gets an instance: %v", err)
	}
	host, there, err := service.Host(t.Context(), "host-b")
	must(t, err)
	if !host.There || host.Version != "version of host-b" || host.Since.IsZero() || host.JoinedAt.IsZero() || !host.CertificateEnds.After(time.Now()) || host.Seats != 1 || len(there) != 1 {
		t.Errorf("the host is %+v with %+v", host, there)
	}
}
