package agent_test

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; no test waits for it unless it fails.
const patience = 3 * time.Minute

// seat notes what it is given.
type seat struct {
	mu      sync.Mutex
	history []*openimds.Instance
	// before, if set, is called by Set with nothing locked; its error is Set's.
	before func(*openimds.Instance) error
}

func (s *seat) Set(in *openimds.Instance) error {
	if s.before != nil {
		if err := s.before(in); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = append(s.history, in)
	return nil
}

// now is what the seat obeys; nil: nothing, whether it was emptied or never filled.
func (s *seat) now() *openimds.Instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.history) == 0 {
		return nil
	}
	return s.history[len(s.history)-1]
}

func (s *seat) sets() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.history)
}

// obeys tells whether the seat has the options of the record, whatever their state.
func (s *seat) obeys(in *openimds.Instance) bool {
	now := s.now()
	return now != nil && now.ID == in.ID && bare(now.Options) == bare(in.Options)
}

func bare(o openimds.MetadataOptions) openimds.MetadataOptions {
	o.State = ""
	return o
}

// host is one agent, its store and the service that changes it.
type host struct {
	t       *testing.T
	store   store.Store
	service *control.Service
	agent   *agent.Agent
	log     *logText
}

// newHost makes a host whose agent does not run yet. wrap puts something between the agent's side
// and the store; nil: nothing.
func newHost(t *testing.T, wrap func(store.Store) store.Store) *host {
	t.Helper()
	var store store.Store = mem.New()
	h := &host{t: t, store: store, log: &logText{}}
	h.service = control.New(store, control.Config{Region: "us-east-1", AccountID: "123456789012", AllowIMDSIPv6: true})
	if wrap != nil {
		store = wrap(store)
	}
	h.agent = agent.New(agent.Config{
		Store:  store,
		Marker: control.New(store, control.Config{Region: "us-east-1", AccountID: "123456789012"}),
		Log:    slog.New(slog.NewTextHandler(h.log, nil)),
	})
	return h
}

// run starts the agent; the test's end, or stop, ends it.
func (h *host) run() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.agent.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	h.t.Cleanup(stop)
	return stop
}

func (h *host) create(names ...string) {
	h.t.Helper()
	_, err := h.service.CreateInstances(h.t.Context(), control.InstancesLaunch{
		Names: names, Zone: "us-east-1a", BlueprintID: "ubuntu_24_04", BundleID: "nano_3_0",
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) seat(name string, s *seat) {
	h.t.Helper()
	if err := h.agent.Seat(h.t.Context(), name, s); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) instance(name string) *openimds.Instance {
	h.t.Helper()
	in, err := h.service.Instance(h.t.Context(), name)
	if err != nil {
		h.t.Fatal(err)
	}
	return in
}

// hops asks for a hop limit.
func (h *host) hops(name string, n int) openimds.Operation {
	h.t.Helper()
	op, err := h.service.UpdateOptions(h.t.Context(), name, openimds.OptionsUpdate{HopLimit: &n})
	if err != nil {
		h.t.Fatal(err)
	}
	return op
}

func (h *host) status(id string) openimds.OperationStatus {
	h.t.Helper()
	op, err := h.service.Operation(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return op.Status
}

// overwrite puts bytes in the place of an instance's record.
func (h *host) overwrite(name string, value []byte) {
	h.t.Helper()
	change := store.Change{Key: records.InstancePrefix + name, Value: value, If: store.Whatever}
	if _, err := h.store.Commit(h.t.Context(), change); err != nil {
		h.t.Fatal(err)
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// logText is a log that can be read while it is written.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
