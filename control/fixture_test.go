package control_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/audit/storelog"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// patience bounds every wait; no test waits for it unless it fails.
const patience = 3 * time.Minute

// start is when the clock of a fixture begins: an odd moment, so that what is rounded shows.
var start = time.Date(2026, 11, 22, 12, 1, 2, 345678900, time.UTC)

// fixture is a service on a store, with a clock and all that it told the audit.
type fixture struct {
	*control.Service
	t     *testing.T
	store store.Store

	mu      sync.Mutex
	now     time.Time
	entries []openimds.AuditEntry
}

// newFixture makes a service in us-east-1 on an empty store in memory. change may alter its
// configuration and the store before the service is made.
func newFixture(t *testing.T, change func(*control.Config, *store.Store)) *fixture {
	f := &fixture{t: t, now: start, store: mem.New()}
	cfg := control.Config{
		Region: "us-east-1", AccountID: "123456789012",
		Now: f.clock,
		Audit: func(_ context.Context, entries ...openimds.AuditEntry) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.entries = append(f.entries, entries...)
			return nil
		},
	}
	cfg.AuditRecords = func(entries []openimds.AuditEntry) (ahead, within []store.Change, err error) { // for how large commits are, in all tests
		return storelog.New(f.store, openimds.LocalHost).Records(entries)
	}
	if change != nil {
		change(&cfg, &f.store)
	}
	f.Service = control.New(bounded{f.store, t}, cfg)
	return f
}

// bounded fails the test at a commit that a fleet's store might refuse: etcd takes 128 changes in one unless
// told otherwise.
type bounded struct {
	store.Store
	t *testing.T
}

func (b bounded) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if most := 124; len(changes) > most {
		b.t.Errorf("a commit has %d changes, above %d", len(changes), most)
	}
	return b.Store.Commit(ctx, changes...)
}

// clock moves on by a microsecond with each look, so that operations have an order.
func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(time.Microsecond)
	return f.now
}

func (f *fixture) sleep(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

// audit returns what was told since the last call, as its reader understands it: a change that was taken
// back is told as failed, or, if it was not made at all, not told.
func (f *fixture) audit() []openimds.AuditEntry {
	var told []openimds.AuditEntry
	for _, e := range f.audited() {
		if e.Failure != "" {
			at := slices.IndexFunc(told, func(t openimds.AuditEntry) bool {
				return t.Change == e.Change && t.Resource == e.Resource && t.Failure == ""
			})
			if at < 0 {
				f.t.Fatalf("what was never told is taken back by %+v", e)
			}
			told = slices.Delete(told, at, at+1)
			if strings.HasPrefix(e.Failure, "not made: ") {
				continue
			}
		}
		told = append(told, e)
	}
	return told
}

// audited returns what was told since the last call, line by line.
func (f *fixture) audited() []openimds.AuditEntry {
	f.mu.Lock()
	defer f.mu.Unlock()
	told := f.entries
	f.entries = nil
	return told
}

func launch(names ...string) control.InstancesLaunch {
	return control.InstancesLaunch{Names: names, Zone: "us-east-1a", BlueprintID: "ubuntu_24_04", BundleID: "nano_3_0"}
}

// defaultPair is a record of the default key pair: making one takes longer than most tests.
var defaultPair = sync.OnceValues(func() (store.Record, error) {
	kept := mem.New()
	s := control.New(kept, control.Config{Region: "us-east-1", AccountID: "123456789012"})
	if _, err := s.DefaultKeyPair(context.Background()); err != nil {
		return store.Record{}, err
	}
	return kept.Get(context.Background(), records.KeyPairPrefix+openimds.DefaultKeyPairName)
})

func (f *fixture) create(names ...string) {
	f.t.Helper()
	pair, err := defaultPair()
	if err != nil {
		f.t.Fatal(err)
	}
	change := store.Change{Key: pair.Key, Value: pair.Value, If: store.IfAbsent}
	if _, err := f.store.Commit(f.t.Context(), change); err != nil && !errors.Is(err, store.ErrConflict) {
		f.t.Fatal(err)
	}
	if _, err := f.CreateInstances(f.t.Context(), launch(names...)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) get(name string) *openimds.Instance {
	f.t.Helper()
	in, err := f.Instance(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	return in
}

// revision is how often the store was changed.
func (f *fixture) revision() int64 {
	f.t.Helper()
	page, err := f.store.List(f.t.Context(), store.Range{Limit: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	return page.Revision
}

// update changes options and fails the test if that does not work.
func (f *fixture) update(name string, u openimds.OptionsUpdate) openimds.Operation {
	f.t.Helper()
	op, err := f.UpdateOptions(f.t.Context(), name, u)
	if err != nil {
		f.t.Fatal(err)
	}
	return op
}

// done asserts that operations were returned, by type and resource, all of them ended.
func done(t *testing.T, ops []openimds.Operation, err error, want ...string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, op := range ops {
		got = append(got, op.Type+" "+op.Resource)
		if op.Status != openimds.OperationSucceeded || op.ID == "" || op.CreatedAt.IsZero() || op.Zone == "" {
			t.Errorf("the operation is incomplete: %+v", op)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("operations %q, want %q", got, want)
	}
}

// refused asserts a failure of that kind, code and text for the client.
func refused(t *testing.T, err error, kind openimds.Kind, code openimds.Code, message string) {
	t.Helper()
	e, ok := errors.AsType[*openimds.Error](err)
	if !ok {
		t.Errorf("error %v is none of this package, want %q", err, message)
		return
	}
	if e.Kind != kind || e.Code != code || e.Message() != message {
		t.Errorf("refused with kind %d, code %q\n%s, want kind %d, code %q\n%s", e.Kind, e.Code, e.Message(), kind, code, message)
	}
}

// one makes the operation of a call a list, as other calls return it.
func one(op openimds.Operation, err error) ([]openimds.Operation, error) {
	if err != nil {
		return nil, err
	}
	return []openimds.Operation{op}, nil
}

// call is one use of a service, for tables.
type call func(context.Context, *control.Service) error
