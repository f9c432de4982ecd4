package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

var errAway = errors.New("connection refused")

// failing is a store whose lists and watches fail as fault says; nil is no failure.
type failing struct {
	store.Store
	fault func() error
}

func (s *failing) List(ctx context.Context, r store.Range) (store.Page, error) {
	if err := s.fault(); err != nil {
		return store.Page{}, err
	}
	return s.Store.List(ctx, r)
}

func (s *failing) Watch(prefix string, after int64) store.Watcher {
	return &failingWatcher{s.Store.Watch(prefix, after), s.fault}
}

type failingWatcher struct {
	store.Watcher
	fault func() error
}

// Next loses what it was told when it fails, as a connection does that breaks.
func (w *failingWatcher) Next(ctx context.Context) ([]store.Record, error) {
	records, err := w.Watcher.Next(ctx)
	if fault := w.fault(); err == nil && fault != nil {
		return nil, fault
	}
	return records, err
}

// follower knows what it was told, and how.
type follower struct {
	t        *testing.T
	known    map[string]string
	revision int64 // of the last word
	lists    int
	log      bytes.Buffer
}

func newFollower(t *testing.T) *follower { return &follower{t: t, known: map[string]string{}} }

func (f *follower) is() store.Follower {
	return store.Follower{Prefix: "a/", Listed: f.listed, Changed: f.changed, Log: slog.New(slog.NewTextHandler(&f.log, nil)), Away: "away; going on"}
}

func (f *follower) listed(_ context.Context, page store.Page) error {
	if f.lists++; page.Revision < f.revision {
		f.t.Errorf("listed at revision %d after %d", page.Revision, f.revision)
	}
	clear(f.known)
	for _, r := range page.Records {
		f.known[r.Key] = string(r.Value)
	}
	f.revision = page.Revision
	return nil
}

func (f *follower) changed(_ context.Context, records []store.Record) error {
	if records[0].Revision <= f.revision {
		f.t.Errorf("told of revision %d after %d", records[0].Revision, f.revision)
	}
	for _, e := range records {
		if e.Revision < f.revision || !strings.HasPrefix(e.Key, "a/") {
			f.t.Errorf("told of %s at revision %d after %d", e.Key, e.Revision, f.revision)
		}
		f.revision = e.Revision
		if delete(f.known, e.Key); e.Value != nil {
			f.known[e.Key] = string(e.Value)
		}
	}
	return nil
}

func put(t *testing.T, s store.Store, key, value string) {
	t.Helper()
	if _, err := s.Commit(t.Context(), store.Change{Key: key, Value: []byte(value), If: store.Whatever}); err != nil {
		t.Fatal(err)
	}
}

// TestFollowMissesNothing: whatever fails and whenever, a follower comes to know what the store has, and is
// told nothing twice.
func TestFollowMissesNothing(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random, chance := rand.New(rand.NewPCG(1, seed)), rand.New(rand.NewPCG(2, seed))
			faults := map[error]int{}
			var quiet atomic.Bool
			s := &failing{mem.New(), func() error {
				var err error
				switch n := chance.IntN(10); {
				case quiet.Load():
				case n == 0:
					err = errAway
				case n == 1:
					err = store.ErrCompacted
				}
				faults[err]++
				return err
			}}
			f := newFollower(t)
			ctx, cancel := context.WithCancel(t.Context())
			go store.Follow(ctx, s, f.is())
			want := map[string]string{}
			for n := range 300 {
				key := fmt.Sprint([]string{"a/", "b/"}[random.IntN(2)], random.IntN(5))
				change := store.Change{Key: key, Value: fmt.Append(nil, n), If: store.Whatever}
				if delete(want, key); random.IntN(3) == 0 {
					change.Verb = store.Delete
				} else if strings.HasPrefix(key, "a/") {
					want[key] = fmt.Sprint(n)
				}
				if _, err := s.Commit(ctx, change); err != nil {
					t.Fatal(err)
				}
				if random.IntN(2) == 0 {
					synctest.Wait()
				}
				if random.IntN(10) == 0 {
					time.Sleep(time.Duration(random.IntN(3)) * time.Second)
				}
			}
			synctest.Wait()
			quiet.Store(true)
			time.Sleep(time.Minute) // longer than any pause
			synctest.Wait()
			if !maps.Equal(f.known, want) {
				t.Errorf("seed %d: it knows %v, the store has %v", seed, f.known, want)
			}
			if faults[errAway] == 0 || faults[store.ErrCompacted] == 0 || f.lists < 2 {
				t.Errorf("seed %d: too little went wrong: %v", seed, faults)
			}
			cancel()
			synctest.Wait()
		})
	}
}

// TestFollowOutage: a follower keeps what it knows while the store is away, the store is asked less and less
// often, and one that was back for long is asked at once again.
func TestFollowOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var fault error
		var asked []time.Time // since the fault was set
		s := &failing{mem.New(), func() error {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, time.Now())
			return fault
		}}
		set := func(err error) (before []time.Time) {
			mu.Lock()
			defer mu.Unlock()
			before, fault, asked = asked, err, nil
			return before
		}
		put(t, s, "a/1", "one")
		f := newFollower(t)
		ctx, cancel := context.WithCancel(t.Context())
		go store.Follow(ctx, s, f.is())
		synctest.Wait()
		for range 2 {
			set(errAway)
			put(t, s, "a/2", "lost") // what wakes the watch
			time.Sleep(time.Minute)
			synctest.Wait()
			if len(f.known) == 0 || f.known["a/1"] != "one" {
				t.Errorf("while the store is away it knows %v", f.known)
			}
			asked := set(nil)
			for i, pause := 1, 50*time.Millisecond; i < len(asked); i, pause = i+1, min(2*pause, 5*time.Second) {
				if waited := asked[i].Sub(asked[i-1]); waited < pause/2 || waited > pause/2+pause {
					t.Errorf("asked for the time %d after %s, want about %s", i, waited, pause)
				}
			}
			if len(asked) < 10 {
				t.Errorf("asked only %d times", len(asked))
			}
			put(t, s, "a/2", "two")
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if f.known["a/2"] != "two" {
				t.Errorf("after the outage it knows %v", f.known)
			}
		}
		if line := `level=WARN msg="away; going on" error="connection refused" retry=50ms`; strings.Count(f.log.String(), line) != 2 {
			t.Errorf("the log does not have two outages that begin with %s:\n%s", line, &f.log)
		}
		cancel()
		synctest.Wait()
	})
}

// TestFollowCompaction: who was held up until the store forgot what happened meanwhile lists again at once,
// and knows of what was deleted.
func TestFollowCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		put(t, s, "a/deleted", "x")
		f := newFollower(t)
		held := make(chan struct{})
		following, ended := f.is(), make(chan struct{})
		following.Changed = func(ctx context.Context, records []store.Record) error {
			<-held
			return f.changed(ctx, records)
		}
		go func() { store.Follow(t.Context(), s, following); close(ended) }()
		synctest.Wait()
		put(t, s, "a/1", "one")
		synctest.Wait()
		if _, err := s.Commit(t.Context(), store.Change{Verb: store.Delete, Key: "a/deleted", If: store.Whatever}); err != nil {
			t.Fatal(err)
		}
		for range 20_000 {
			put(t, s, "noise", "x")
		}
		close(held)
		synctest.Wait()
		if want := map[string]string{"a/1": "one"}; f.lists != 2 || !maps.Equal(f.known, want) {
			t.Errorf("listed %d times, knows %v, want %v", f.lists, f.known, want)
		}
		if text := f.log.String(); !strings.Contains(text, "listing again") || strings.Contains(text, "WARN") {
			t.Errorf("the log has:\n%s", text)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		<-ended
	})
}

// TestFollowerFails: an error of the follower's own is an outage like the store's, with a listing after it.
func TestFollowerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, f := mem.New(), newFollower(t)
		following, fails := f.is(), map[string]bool{"listed": true, "changed": true}
		fail := func(what string) error {
			if fails[what] {
				fails[what] = false
				return errAway
			}
			return nil
		}
		following.Listed = func(ctx context.Context, page store.Page) error {
			return errors.Join(fail("listed"), f.listed(ctx, page))
		}
		following.Changed = func(_ context.Context, records []store.Record) error {
			if err := fail("changed"); err != nil {
				return err // without having looked at them
			}
			return f.changed(t.Context(), records)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go store.Follow(ctx, s, following)
		time.Sleep(time.Second)
		synctest.Wait()
		put(t, s, "a/1", "one")
		time.Sleep(time.Second)
		synctest.Wait()
		put(t, s, "a/2", "two")
		synctest.Wait()
		if want := map[string]string{"a/1": "one", "a/2": "two"}; f.lists != 3 || !maps.Equal(f.known, want) {
			t.Errorf("listed %d times, knows %v, want %v", f.lists, f.known, want)
		}
		cancel()
		synctest.Wait()
	})
}

// TestFollowEnds: with the context, be it while the store is away, and with the store, without a word.
func TestFollowEnds(t *testing.T) {
	for _, row := range []struct {
		name  string
		away  bool // the store is
		end   func(cancel func(), s store.Store)
		lines int // in the log
	}{
		{"the context while it waits for changes", false, func(cancel func(), _ store.Store) { cancel() }, 0},
		{"the context while the store is away", true, func(cancel func(), _ store.Store) { cancel() }, 1},
		{"the store", false, func(_ func(), s store.Store) { _ = s.Close() }, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fault error
				if row.away {
					fault = errAway
				}
				s, f, ended := &failing{mem.New(), func() error { return fault }}, newFollower(t), false
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() { store.Follow(ctx, s, f.is()); ended = true }()
				synctest.Wait()
				row.end(cancel, s)
				synctest.Wait()
				if lines := strings.Count(f.log.String(), "\n"); !ended || lines != row.lines {
					t.Errorf("it ended: %t; the log has:\n%s", ended, &f.log)
				}
			})
		})
	}
}
