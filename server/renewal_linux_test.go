package server

import (
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// settable is a clock that a test puts.
type settable struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *settable) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// put has the clock go ahead of the true one by so much.
func (c *settable) put(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

// renewing is a replica and an agent that has one guest, each with a clock of its own by which certificates are good.
type renewing struct {
	t              *testing.T
	cfg            Config
	agentCfg       AgentConfig
	replica        *installation
	agent          *agentProcess
	replicas, host settable
	guest          string            // its address
	answered       func() (lost int) // ends the calls of the guest, and says how many were not answered
}

func newRenewing(t *testing.T, address string) *renewing {
	t.Helper()
	dir := t.TempDir()
	r := &renewing{t: t, cfg: forTest(filepath.Join(dir, "replica")), agentCfg: AgentDefaults()}
	r.cfg.HostsListen, r.cfg.hostsNow = ownPort(t, address), r.replicas.now
	r.replica = openInstallation(t, r.cfg)
	_, err := r.replica.server.Service().CreateInstances(t.Context(), control.InstancesLaunch{Names: []string{"web"}})
	must(t, err)
	r.agentCfg.DataDir = filepath.Join(dir, "agent")
	r.agentCfg.now, r.agentCfg.renewEvery = r.host.now, 5*time.Millisecond
	r.start(true)
	return r
}

// start starts the agent, by a join file or as what it is, and has its guest ask again and again.
func (r *renewing) start(joins bool) {
	t := r.t
	t.Helper()
	r.agentCfg.Join = nil
	if joins {
		r.agentCfg.Join = invite(t, r.replica.server, "host-a")
		value, err := records.Encode(records.JoinToken{Sum: r.agentCfg.Join.Token.Sum(), Until: r.replicas.now().Add(time.Hour)})
		must(t, err)
		_, err = r.replica.server.store.Commit(t.Context(), store.Change{Key: records.JoinTokenKey("host-a"), Value: value, If: store.Whatever})
		must(t, err)
	}
	r.agent = startAgent(t, r.agentCfg)
	if r.agent.host == nil {
		t.Skip("skipped: this process cannot attach instances: ", r.agent.HostNetwork().cannot())
	}
	if service := r.replica.server.Service(); joins {
		must(t, eventually(func() bool {
			time.Sleep(time.Millisecond)
			_, err := service.AttachInstance(t.Context(), openimds.Attachment{Instance: "web", Host: "host-a", Interface: "tapnone0"})
			return err == nil
		}))
	}
	r.guest = r.agent.guestOf(t, "web")
	r.answered = asked(r.guest)
	t.Cleanup(func() { r.answered() })
}

// stop ends the agent, after a look whether all calls of its guest were answered.
func (r *renewing) stop() {
	r.t.Helper()
	if n := r.answered(); n > 0 {
		r.t.Errorf("%d calls of the guest were not answered", n)
	}
	must(r.t, r.agent.stop())
}

// asked asks as a guest until the function that it returns is called, which says how many calls were not answered.
func asked(guest string) (lost func() int) {
	stop, failed := make(chan struct{}), make(chan int)
	go func() {
		n := 0
		for {
			select {
			case <-stop:
				failed <- n
				return
			default:
			}
			resp, err := http.Get("http://" + guest + "/latest/meta-data/instance-id") //nolint:noctx // on this machine
			if err == nil {
				_ = resp.Body.Close()
			}
			if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
				n++
			}
			time.Sleep(time.Millisecond)
		}
	}()
	return sync.OnceValue(func() int { close(stop); return <-failed })
}

// obeyed changes the guest's options, and waits until the agent obeys them.
func (r *renewing) obeyed(tokens openimds.TokensMode) {
	r.t.Helper()
	service := r.replica.server.Service()
	op, err := service.UpdateOptions(r.t.Context(), "web", openimds.OptionsUpdate{Tokens: &tokens})
	must(r.t, err)
	must(r.t, eventually(func() bool {
		time.Sleep(time.Millisecond)
		now, err := service.Operation(r.t.Context(), op.ID)
		return err == nil && now.Status == openimds.OperationSucceeded
	}))
	want := map[openimds.TokensMode]int{openimds.TokensRequired: http.StatusUnauthorized, openimds.TokensOptional: http.StatusOK}[tokens]
	must(r.t, eventually(func() bool { // an agent that has just come is not waited for
		status, _ := answered200(r.t, r.guest, "meta-data/instance-id", "")
		return status == want
	}))
}

func (r *renewing) logged(text string) {
	r.t.Helper()
	must(r.t, eventually(func() bool { time.Sleep(time.Millisecond); return strings.Contains(r.agent.log.String(), text) }))
}

// A certificate is renewed when half of its life is over, while guests are answered and what is changed arrives. While no
// replica is there the agent goes on asking; when the certificate ends without, the guests are answered as before, and a
// new join file makes the machine the host again.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	r := newRenewing(t, "127.0.77.8")
	both := func(ahead time.Duration) { r.replicas.put(ahead); r.host.put(ahead) }
	ends := r.agent.identity.Ends()
	for n := range 3 {
		both(time.Duration(n+1) * 13 * time.Hour) // with the third, the first one has ended
		must(t, eventually(func() bool { time.Sleep(time.Millisecond); return r.agent.identity.Ends().After(ends) }))
		ends = r.agent.identity.Ends()
		r.obeyed(openimds.TokensRequired)
		r.obeyed(openimds.TokensOptional)
	}
	onDisk, err := hostcert.OpenIdentity(r.agentCfg.DataDir)
	must(t, err)
	if !onDisk.Ends().Equal(ends) {
		t.Errorf("the certificate ends at %s, that on disk at %s", ends, onDisk.Ends())
	}
	if log := r.agent.log.String(); strings.Contains(log, "level=WARN") && strings.Contains(log, "cannot be followed") {
		t.Errorf("to renew a certificate reads as trouble:\n%s", log)
	}

	// All replicas go. The agent asks again and again; its certificate ends.
	r.replica.stop()
	both(3*13*time.Hour + 13*time.Hour)
	r.logged("this host's certificate cannot be renewed; trying again")
	both(3*13*time.Hour + 25*time.Hour)
	r.stop()
	r.start(false) // also one that is started then
	r.logged("cannot be renewed")

	// They come back, and do not let it in: they say so, once, and take nothing from its guests.
	r.replica = openInstallation(t, r.cfg)
	must(t, eventually(func() bool {
		time.Sleep(time.Millisecond)
		return strings.Contains(readAudit(t, r.replica), "its certificate has expired; enroll the host again")
	}))
	select {
	case <-r.agent.client.Evicted():
		t.Error("a host whose certificate has expired is told that it was evicted")
	default:
	}
	r.stop()
	r.start(true)
	r.obeyed(openimds.TokensRequired)
	r.stop()
}

// Clocks that jump take nothing from guests, and nothing from the host once they are right again: neither the host's own
// nor the replicas'.
func TestClocksJump(t *testing.T) {
	t.Parallel()
	r := newRenewing(t, "127.0.77.9")
	ends := r.agent.identity.Ends()
	r.obeyed(openimds.TokensRequired)

	stays := func() {
		t.Helper()
		if now := r.agent.identity.Ends(); !now.Equal(ends) {
			t.Fatalf("by a wrong clock it was given a certificate to %s, had one to %s", now, ends)
		}
	}
	anew := func() {
		t.Helper()
		r.stop()
		r.start(false)
	}

	// The host's is days ahead: what it is given by then is not good by it.
	r.host.put(100 * time.Hour)
	r.logged("this host's certificate cannot be renewed; trying again")
	stays()
	// It is years behind, as of a machine without a clock of its own before it has asked for the time.
	r.host.put(-20 * 365 * 24 * time.Hour)
	anew()
	r.logged("the replicas cannot be followed; serving what this host knows")
	r.host.put(0)
	r.obeyed(openimds.TokensOptional)

	// The replicas' is ahead, by less and by more than the certificate's life.
	r.host.put(13 * time.Hour)
	for _, ahead := range []time.Duration{19 * time.Hour, 100 * time.Hour} {
		r.replicas.put(ahead)
		anew()
		r.logged("this host's certificate cannot be renewed; trying again")
		stays()
	}
	r.replicas.put(13 * time.Hour)
	must(t, eventually(func() bool { time.Sleep(time.Millisecond); return r.agent.identity.Ends().After(ends) }))
	r.obeyed(openimds.TokensOptional)
	r.stop()
}
