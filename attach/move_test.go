package attach_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/attach"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// patience bounds every wait; no test waits for it unless it fails.
const patience = 3 * time.Minute

// fleet is two hosts on one store. Of each instance it knows who answers: a host whose network leads to a seat
// that has it.
type fleet struct {
	t     *testing.T
	store store.Store
	hosts map[string]*fleetHost

	mu      sync.Mutex
	changed chan struct{}
	most    int // how many hosts have answered for one instance at a time
}

// fleetHost is one of them, and the network and the seats of it.
type fleetHost struct {
	of          *fleet
	name        string
	service     *control.Service
	agent       *agent.Agent
	attachments *attach.Attachments
	lease       store.Lease
	stop        func()
	// hold keeps its network as it is; nil: nothing does.
	hold chan struct{}

	leads map[string]bool // instances to whose seat its network leads
	seats map[string]*openimds.Instance
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, store: mem.New(), hosts: map[string]*fleetHost{}, changed: make(chan struct{})}
	t.Cleanup(func() { _ = f.store.Close() })
	for _, name := range []string{"one", "two"} {
		h := f.start(name)
		f.change(func() { f.hosts[name] = h }) // who runs already looks at them
	}
	_, err := f.hosts["one"].service.CreateInstances(t.Context(), control.InstancesLaunch{
		Names: []string{"web"}, Zone: "us-east-1a", BlueprintID: "ubuntu_24_04", BundleID: "nano_3_0",
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fleet) start(name string) *fleetHost {
	h := &fleetHost{of: f, name: name, leads: map[string]bool{}, seats: map[string]*openimds.Instance{}}
	log := slog.New(slog.NewTextHandler(f.t.Output(), nil))
	h.service = control.New(f.store, control.Config{Region: "us-east-1", AccountID: "123456789012", Host: name, Attachments: carrier{}})
	presence := agent.NewPresence(agent.PresenceConfig{Store: f.store, Hosts: h.service, Name: name, Log: log})
	presence.Join(f.t.Context())
	h.lease = presence.Lease()
	h.agent = agent.New(agent.Config{Store: f.store, Marker: h.service, Presence: presence, Log: log})
	h.attachments = attach.New(attach.Config{
		Store: f.store, Name: name, Binder: h.service, Seats: h, Host: h, Log: log,
		Report: func(ctx context.Context, all []openimds.AttachmentStatus) error {
			return h.service.ReportAttachments(ctx, h.lease, all)
		},
		LetGo: func(ctx context.Context, instances []string) error { return h.service.LetGo(ctx, instances...) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { h.agent.Run(ctx) })
	running.Go(func() { h.attachments.Run(ctx) })
	running.Go(func() { presence.Run(ctx, h.agent.Back, h.service.SettleHosts) })
	h.stop = func() { cancel(); running.Wait() }
	f.t.Cleanup(h.stop)
	return h
}

// Set is [attach.Network].
func (h *fleetHost) Set(endpoints []hostnet.Endpoint) error {
	h.of.mu.Lock()
	hold := h.hold
	h.of.mu.Unlock()
	if hold != nil {
		<-hold
	}
	leads := map[string]bool{}
	for _, e := range endpoints {
		if e.Bound == nil {
			h.attachments.Bind(e.ID, hostnet.Face{Boot: "boot of " + h.name, Index: 7})
			continue
		}
		leads[attach.InstanceOf(e.ID)] = true
		h.attachments.Changed(hostnet.EndpointStatus{Endpoint: e, State: hostnet.Attached})
	}
	h.of.change(func() { h.leads = leads })
	return nil
}

// fleetSeat is one of [agent.Seat].
type fleetSeat struct {
	host *fleetHost
	name string
}

func (s fleetSeat) Set(in *openimds.Instance) error {
	s.host.of.change(func() { s.host.seats[s.name] = in })
	return nil
}

func (h *fleetHost) SeatAll(ctx context.Context, instances []string) error {
	all := map[string]agent.Seat{}
	for _, name := range instances {
		all[name] = fleetSeat{h, name}
	}
	return h.agent.SeatAll(ctx, all)
}
func (h *fleetHost) Unseat(instance string) error { return h.agent.Unseat(instance) }
func (h *fleetHost) Await(ctx context.Context, instance string, revision int64) error {
	return h.agent.Await(ctx, instance, revision)
}

// change changes who answers, and counts them.
func (f *fleet) change(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
	f.most = max(f.most, len(f.answering()))
	close(f.changed)
	f.changed = make(chan struct{})
}

// answering are the hosts that answer for the instance. f.mu is held.
func (f *fleet) answering() (all []*fleetHost) {
	for _, h := range f.hosts {
		if h.leads["web"] && h.seats["web"] != nil {
			all = append(all, h)
		}
	}
	return all
}

// await waits until just that host answers, with what it answers by.
func (f *fleet) await(name string) *openimds.Instance {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		f.mu.Lock()
		all, changed := f.answering(), f.changed
		var in *openimds.Instance
		if len(all) == 1 && all[0].name == name {
			in = all[0].seats["web"]
		}
		f.mu.Unlock()
		if in != nil {
			return in
		}
		select {
		case <-changed:
		case <-deadline:
			f.t.Fatalf("%s does not answer", name)
		}
	}
}

func (f *fleet) attach(host string) {
	f.t.Helper()
	if _, err := f.hosts["two"].service.AttachInstance(f.t.Context(), openimds.Attachment{Instance: "web", Host: host, Interface: "tap0"}); err != nil {
		f.t.Fatal(err)
	}
}

// status is what is told of the attachment.
func (f *fleet) status() openimds.AttachmentStatus {
	f.t.Helper()
	a, err := f.hosts["two"].service.Attachment(f.t.Context(), "web")
	if err != nil || a == nil {
		f.t.Fatal(a, err)
	}
	all, err := f.hosts["two"].service.AttachmentStatuses(f.t.Context(), []*openimds.Attachment{a})
	if err != nil {
		f.t.Fatal(err)
	}
	return all[0]
}

func (f *fleet) never2() {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.most > 1 {
		f.t.Errorf("%d hosts have answered for one instance", f.most)
	}
}

// TestMoves: an instance that is moved again and again is never answered by two hosts, and keeps the key of its tokens.
func TestMoves(t *testing.T) {
	f := newFleet(t)
	f.attach("one")
	first := f.await("one")
	var gaps []time.Duration
	for n := range 50 {
		to := []string{"two", "one"}[n%2]
		begun := time.Now()
		f.attach(to)
		in := f.await(to)
		gaps = append(gaps, time.Since(begun))
		if string(in.TokenKey) != string(first.TokenKey) || in.ID != first.ID {
			t.Fatal("the tokens of before the move are good no more")
		}
	}
	f.never2()
	t.Logf("from the call that moves to the new host's first answer: %v", gaps)
}

// TestMoveWaits: the new host does not begin while the former one's network is still as it was; a change of options
// meanwhile waits for it too.
func TestMoveWaits(t *testing.T) {
	f := newFleet(t)
	f.attach("one")
	f.await("one")
	hold := make(chan struct{})
	f.change(func() { f.hosts["one"].hold = hold })
	f.attach("two")
	required := openimds.TokensRequired
	if _, err := f.hosts["two"].service.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{Tokens: &required}); err != nil {
		t.Fatal(err)
	}
	if s := f.status(); s.State != "waiting" {
		t.Errorf("the attachment is %+v", s)
	}
	if in := f.await("one"); in == nil {
		t.Error("the former host does not answer")
	}
	f.change(func() { f.hosts["one"].hold = nil })
	close(hold)
	if in := f.await("two"); in.Options.Tokens != openimds.TokensRequired {
		t.Errorf("the new host begins with %+v", in.Options)
	}
	f.never2()
}

// TestMoveFromDead: a host that is gone without a word is waited for until its lease ends, and no longer.
func TestMoveFromDead(t *testing.T) {
	f := newFleet(t)
	f.attach("one")
	f.await("one")
	hold := make(chan struct{})
	f.change(func() { f.hosts["one"].hold = hold })
	f.attach("two")
	if s := f.status(); s.State != "waiting" {
		t.Errorf("the attachment is %+v", s)
	}
	f.change(func() { clear(f.hosts["one"].leads) }) // its machine is off
	if err := f.store.Revoke(t.Context(), f.hosts["one"].lease); err != nil {
		t.Fatal(err)
	}
	f.await("two")
	f.never2()
	f.change(func() { f.hosts["one"].hold = nil })
	close(hold)
}
