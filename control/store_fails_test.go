package control_test

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

var errStore = errors.New("input/output error")

// fault is what is wrong with a store.
type fault struct {
	read   error // of Get and List
	commit error // of Commit; nothing is written
	lost   error // of Commit, though it was written
	from   int   // the first call that it happens to, counted from 0 over all calls
}

// faultyStore is a store with a fault that can be set at any time.
type faultyStore struct {
	store.Store
	mu    sync.Mutex
	fault fault
	calls int
}

func (s *faultyStore) set(f fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.calls = f, 0
}

// next is the fault of a call.
func (s *faultyStore) next() fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.calls <= s.fault.from {
		return fault{}
	}
	return s.fault
}

func (s *faultyStore) Get(ctx context.Context, key string) (store.Record, error) {
	if f := s.next(); f.read != nil {
		return store.Record{}, f.read
	}
	return s.Store.Get(ctx, key)
}

func (s *faultyStore) List(ctx context.Context, r store.Range) (store.Page, error) {
	if f := s.next(); f.read != nil {
		return store.Page{}, f.read
	}
	return s.Store.List(ctx, r)
}

func (s *faultyStore) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	f := s.next()
	if f.commit != nil {
		return 0, f.commit
	}
	revision, err := s.Store.Commit(ctx, changes...)
	if f.lost != nil {
		return 0, f.lost
	}
	return revision, err
}

// writes is one use of every method that writes, each of which works on the fixture of [newFaulty].
func writes() map[string]call {
	ignore := func(_ any, err error) error { return err }
	return map[string]call{
		"CreateInstances": func(ctx context.Context, s *control.Service) error {
			return ignore(s.CreateInstances(ctx, launch("new-1", "new-2")))
		},
		"UpdateInstanceMetadataOptions": func(ctx context.Context, s *control.Service) error {
			return ignore(s.UpdateOptions(ctx, "web", openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)}))
		},
		"StartInstance":  func(ctx context.Context, s *control.Service) error { return ignore(s.StartInstance(ctx, "idle")) },
		"StopInstance":   func(ctx context.Context, s *control.Service) error { return ignore(s.StopInstance(ctx, "web")) },
		"RebootInstance": func(ctx context.Context, s *control.Service) error { return ignore(s.RebootInstance(ctx, "web")) },
		"DeleteInstance": func(ctx context.Context, s *control.Service) error { return ignore(s.DeleteInstance(ctx, "web")) },
		"SetIpAddressType": func(ctx context.Context, s *control.Service) error {
			return ignore(s.SetAddressType(ctx, "idle", "ipv4", false))
		},
		"PutInstancePublicPorts": func(ctx context.Context, s *control.Service) error { return ignore(s.PutPorts(ctx, "web", nil)) },
		"OpenInstancePublicPorts": func(ctx context.Context, s *control.Service) error {
			return ignore(s.OpenPorts(ctx, "web", openimds.Port{From: 53, To: 53, Protocol: "udp"}))
		},
		"CloseInstancePublicPorts": func(ctx context.Context, s *control.Service) error {
			return ignore(s.ClosePorts(ctx, "web", openimds.Port{From: 22, To: 22, Protocol: "tcp"}))
		},
		"SetInstance": func(ctx context.Context, s *control.Service) error {
			return ignore(s.SetInstance(ctx, "web", control.InstanceUpdate{UserData: new([]byte("x"))}))
		},
		"TagResource": func(ctx context.Context, s *control.Service) error {
			return ignore(s.TagResource(ctx, "web", "", tags("a", "b")))
		},
		"UntagResource": func(ctx context.Context, s *control.Service) error {
			return ignore(s.UntagResource(ctx, "web", "", []string{"old"}))
		},
		"AllocateStaticIp": func(ctx context.Context, s *control.Service) error { return ignore(s.AllocateStaticIP(ctx, "third")) },
		"AttachStaticIp": func(ctx context.Context, s *control.Service) error {
			return ignore(s.AttachStaticIP(ctx, "free", "idle"))
		},
		"DetachStaticIp": func(ctx context.Context, s *control.Service) error { return ignore(s.DetachStaticIP(ctx, "attached")) },
		"ReleaseStaticIp": func(ctx context.Context, s *control.Service) error {
			return ignore(s.ReleaseStaticIP(ctx, "attached"))
		},
		"ImportKeyPair": func(ctx context.Context, s *control.Service) error {
			return ignore(s.ImportKeyPair(ctx, "key-2", ed25519Key))
		},
		"DeleteKeyPair": func(ctx context.Context, s *control.Service) error { return ignore(s.DeleteKeyPair(ctx, "key", "")) },
		"PutAlarm": func(ctx context.Context, s *control.Service) error {
			return ignore(s.PutAlarm(ctx, "alarm-2", alarmOf("web"), nil))
		},
		"DeleteAlarm": func(ctx context.Context, s *control.Service) error { return ignore(s.DeleteAlarm(ctx, "alarm")) },
		"TestAlarm": func(ctx context.Context, s *control.Service) error {
			return ignore(s.TestAlarm(ctx, "alarm", openimds.AlarmOK))
		},
		"MarkApplied": func(ctx context.Context, s *control.Service) error {
			in, err := s.Instance(ctx, "web")
			if err != nil {
				return err
			}
			return s.MarkApplied(ctx, in)
		},
	}
}

// newFaulty makes something for each of [writes] to work on, in a store that can fail.
func newFaulty(t *testing.T) (*fixture, *faultyStore) {
	t.Helper()
	var kept *faultyStore
	f := newFixture(t, func(_ *control.Config, s *store.Store) {
		kept = &faultyStore{Store: *s}
		*s = kept
	})
	ctx := t.Context()
	f.create("web", "idle")
	steps := []call{
		func(ctx context.Context, s *control.Service) error {
			_, err := s.StopInstance(ctx, "idle")
			return err
		},
		func(ctx context.Context, s *control.Service) error {
			_, err := s.AllocateStaticIP(ctx, "free")
			return err
		},
		func(ctx context.Context, s *control.Service) error {
			_, err := s.AllocateStaticIP(ctx, "attached")
			return err
		},
		func(ctx context.Context, s *control.Service) error {
			_, err := s.AttachStaticIP(ctx, "attached", "web")
			return err
		},
		func(ctx context.Context, s *control.Service) error {
			_, err := s.ImportKeyPair(ctx, "key", ed25519Key)
			return err
		},
		func(ctx context.Context, s *control.Service) error {
			_, err := s.PutAlarm(ctx, "alarm", alarmOf("web"), nil)
			return err
		},
		func(ctx context.Context, s *control.Service) error {
			_, err := s.TagResource(ctx, "web", "", tags("old", "1"))
			return err
		},
		func(ctx context.Context, s *control.Service) error {
			_, err := s.UpdateOptions(ctx, "web", openimds.OptionsUpdate{HopLimit: new(2)})
			return err
		},
	}
	for _, step := range steps {
		if err := step(ctx, f.Service); err != nil {
			t.Fatal(err)
		}
	}
	f.audit()
	return f, kept
}

// contents is all that the store holds.
func contents(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	page, err := s.List(t.Context(), store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, r := range page.Records {
		all[r.Key] = string(r.Value)
	}
	return all
}

// TestStoreFails lets the store fail at each of the calls that a change makes, the first, the second
// and so on, in each way. The client is told to try again, and nothing is half done.
func TestStoreFails(t *testing.T) {
	for what, write := range writes() {
		for mode, broken := range map[string]fault{"read": {read: errStore}, "commit": {commit: errStore}} {
			f, store := newFaulty(t)
			before := contents(t, store.Store)
			failed := false
			for broken.from = 0; ; broken.from++ {
				store.set(broken)
				err := write(t.Context(), f.Service)
				told := f.audit()
				if err == nil {
					if len(told) == 0 || told[0].Failure != "" || told[0].What != what {
						t.Errorf("%s, which worked, was told as %+v", what, told)
					}
					break // the store works long enough by now
				}
				failed = true
				refused(t, err, openimds.Unavailable, openimds.StoreAway, "The store is not available; try again")
				if !errors.Is(err, errStore) {
					t.Errorf("%s: the log does not learn the reason: %v", what, err)
				}
				if after := contents(t, store.Store); !reflect.DeepEqual(after, before) {
					t.Errorf("%s with a %s that fails at call %d changed the store", what, mode, broken.from)
				}
				if mode == "read" && len(told) != 0 {
					t.Errorf("%s never came to a change and was told as %+v", what, told)
				}
				for _, e := range told {
					if e.Failure != "the store failed, the change may have been made: input/output error" || e.What != what || e.Resource == "" {
						t.Errorf("%s was told as %+v", what, e)
					}
				}
				if mode == "commit" && len(told) == 0 {
					t.Errorf("%s may have been made and was not told", what)
				}
			}
			if !failed {
				t.Errorf("%s never met a %s that fails: the test shows nothing", what, mode)
			}
		}
	}
}

// TestOutcomeUnknown: the store writes and then loses the answer. The service says that it does not
// know, tells the audit so, and does not do the change a second time by itself.
func TestOutcomeUnknown(t *testing.T) {
	for what, write := range writes() {
		f, store := newFaulty(t)
		before := f.revision()
		store.set(fault{lost: errStore})
		err := write(t.Context(), f.Service)
		refused(t, err, openimds.Unavailable, openimds.StoreAway, "The store is not available; try again")
		store.set(fault{})
		if n := f.revision() - before; n != 1 {
			t.Errorf("%s was written %d times", what, n)
		}
		told := f.audit()
		if len(told) == 0 {
			t.Errorf("%s was written and not told", what)
		}
		for _, e := range told {
			if e.Failure == "" || e.What != what {
				t.Errorf("%s was told as %+v", what, e)
			}
		}
	}
}

// TestEndlessConflict: a store on which somebody else is always faster is given up, politely.
func TestEndlessConflict(t *testing.T) {
	f, kept := newFaulty(t)
	before := contents(t, kept.Store)
	kept.set(fault{commit: store.ErrConflict})
	_, err := f.RebootInstance(t.Context(), "web")
	refused(t, err, openimds.Unavailable, openimds.Contended, "The resource is being changed by too many others; try again")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.StopInstance(ctx, "web")
	refused(t, err, openimds.Unavailable, openimds.StoreAway, "The store is not available; try again")
	if told := f.audit(); len(told) != 0 || !reflect.DeepEqual(contents(t, kept.Store), before) {
		t.Errorf("nothing was changed, and told is %+v", told)
	}
}

// TestDefaultKeyPairFails: a store that cannot write must not read as a key pair that is missing.
func TestDefaultKeyPairFails(t *testing.T) {
	f, store := newFaulty(t)
	pair, err := f.DefaultKeyPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.DeleteKeyPair(t.Context(), pair.Name, pair.Fingerprint); err != nil {
		t.Fatal(err)
	}
	store.set(fault{commit: errStore})
	_, err = f.CreateInstances(t.Context(), launch("new-1"))
	refused(t, err, openimds.Unavailable, openimds.StoreAway, "The store is not available; try again")
}
