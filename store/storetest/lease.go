package storetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds/store"
)

// long is the time of leases that no test waits for.
const long = time.Hour

func grant(t *testing.T, ctx context.Context, s store.Store, ttl time.Duration) store.Lease {
	t.Helper()
	l, err := s.Grant(ctx, ttl)
	if err != nil || l == store.NoLease {
		t.Fatalf("Grant: %d, %v", l, err)
	}
	return l
}

func bind(t *testing.T, ctx context.Context, s store.Store, l store.Lease, key, value string) int64 {
	t.Helper()
	return mustCommit(t, ctx, s, store.Change{Key: key, Value: []byte(value), If: store.Whatever, Lease: l})
}

func testLease(t *testing.T, ctx context.Context, s store.Store) {
	l, other := grant(t, ctx, s, long), grant(t, ctx, s, long)
	put(t, ctx, s, "a/free", "1")
	bind(t, ctx, s, other, "a/other", "1")
	bind(t, ctx, s, l, "a/kept", "1")
	bind(t, ctx, s, l, "a/gone", "1")
	bind(t, ctx, s, l, "a/moved", "1")
	if r, err := s.Get(ctx, "a/gone"); err != nil || r.Lease != l {
		t.Errorf("the record is bound to %d, %v; want %d", r.Lease, err, l)
	}
	put(t, ctx, s, "a/kept", "2") // which frees it
	before := bind(t, ctx, s, other, "a/moved", "2")
	bound := bind(t, ctx, s, l, "a/last", "1")
	if err := s.Revoke(ctx, l); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{"a/free": "1", "a/other": "1", "a/kept": "2", "a/moved": "2", "a/gone": "-", "a/last": "-"} {
		want(t, ctx, s, key, value)
	}
	records := follow(t, ctx, s.Watch("a/", before), 3)
	if records[0].Lease != l || records[0].Revision != bound {
		t.Errorf("the watch tells of %+v, want a record of lease %d", records[0], l)
	}
	for _, e := range records[1:] {
		if e.Value != nil || e.Revision != records[1].Revision || e.Revision <= bound || e.Lease != store.NoLease {
			t.Errorf("the end of the lease is told as %+v", e)
		}
	}
	for what, err := range map[string]error{
		"revoked":    s.Revoke(ctx, l),
		"kept alive": s.KeepAlive(ctx, l),
		"bound":      errOf(s.Commit(ctx, store.Change{Key: "b", If: store.Whatever, Lease: l}, store.Change{Key: "c", If: store.Whatever})),
		"unknown":    s.KeepAlive(ctx, l+other+1),
	} {
		if !errors.Is(err, store.ErrNoLease) {
			t.Errorf("a lease that has ended, %s: %v", what, err)
		}
	}
	want(t, ctx, s, "c", "-")
	if err := s.KeepAlive(ctx, other); err != nil {
		t.Error(err)
	}
}

func errOf(_ int64, err error) error { return err }

func testLeaseMalformed(t *testing.T, ctx context.Context, s store.Store) {
	for _, ttl := range []time.Duration{-1, 0, time.Millisecond, 1500 * time.Millisecond} {
		if l, err := s.Grant(ctx, ttl); err == nil {
			t.Errorf("a lease of %v was granted: %d", ttl, l)
		}
	}
	l := grant(t, ctx, s, long)
	if _, err := s.Commit(ctx, store.Change{Verb: store.Delete, Key: "k", If: store.Whatever, Lease: l}); err == nil {
		t.Error("a deletion was bound to a lease")
	}
	ended, end := context.WithCancel(ctx)
	end()
	for _, err := range []error{s.KeepAlive(ended, l), s.Revoke(ended, l)} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a call with an ended context returned %v", err)
		}
	}
}

// testLeaseEnds keeps one lease alive while another of its time ends. A host that stalls for longer than
// their time proves nothing, and the test begins anew with more of it.
func testLeaseEnds(t *testing.T, ctx context.Context, s store.Store) {
	for ttl := 2 * store.MinTTL; ; ttl *= 2 {
		l, key := grant(t, ctx, s, ttl), "kept"
		bind(t, ctx, s, l, key, "1")
		left := grant(t, ctx, s, ttl)
		at := bind(t, ctx, s, left, "left", "1")
		over := make(chan error, 1)
		go func() {
			records, err := s.Watch("left", at).Next(ctx)
			if err == nil && describe(records) != "left" {
				err = errors.New(describe(records))
			}
			over <- err
		}()
		stalled, last := false, time.Now()
		for ended := false; !ended; {
			select {
			case err := <-over:
				if err != nil {
					t.Fatal(err)
				}
				ended = true
			case <-time.After(ttl / 10):
			}
			err := s.KeepAlive(ctx, l)
			stalled = stalled || time.Since(last) > ttl/2
			if last = time.Now(); err != nil && !stalled {
				t.Fatalf("a lease that was kept alive: %v", err)
			}
		}
		if stalled {
			continue
		}
		want(t, ctx, s, "left", "-")
		want(t, ctx, s, key, "1")
		if err := s.KeepAlive(ctx, left); !errors.Is(err, store.ErrNoLease) {
			t.Errorf("a lease whose time is over is kept alive: %v", err)
		}
		return
	}
}

func testCampaign(t *testing.T, ctx context.Context, s store.Store) {
	const candidates = 5
	var office atomic.Int32
	var running sync.WaitGroup
	for range candidates {
		running.Go(func() {
			l, err := s.Grant(ctx, long)
			if err == nil {
				err = store.Campaign(ctx, s, "office", "me", l)
			}
			if err != nil {
				t.Error(err)
				return
			}
			if office.Add(1) != 1 {
				t.Error("two have the office")
			}
			if r, err := s.Get(ctx, "office"); err != nil || r.Lease != l || string(r.Value) != "me" {
				t.Errorf("the office is had by %+v, %v; want %d", r, err, l)
			}
			if err := store.Campaign(ctx, s, "office", "me", l); err != nil {
				t.Errorf("who has the office waits for it: %v", err)
			}
			office.Add(-1)
			if err := s.Revoke(ctx, l); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	want(t, ctx, s, "office", "-")
	put(t, ctx, s, "office/of-another", "1")
	l := grant(t, ctx, s, long)
	if err := store.Campaign(ctx, s, "office", "me", l); err != nil {
		t.Fatal(err)
	}
	lost, end := context.WithCancel(ctx)
	end()
	if err := store.Campaign(lost, s, "office", "other", grant(t, ctx, s, long)); !errors.Is(err, context.Canceled) {
		t.Errorf("a campaign whose context has ended: %v", err)
	}
	over := grant(t, ctx, s, long)
	if err := s.Revoke(ctx, over); err != nil {
		t.Fatal(err)
	}
	if err := store.Campaign(ctx, s, "office", "other", over); !errors.Is(err, store.ErrNoLease) {
		t.Errorf("a campaign with a lease that has ended, for an office that another has: %v", err)
	}
	if err := s.Revoke(ctx, l); err != nil {
		t.Fatal(err)
	}
	if err := store.Campaign(ctx, s, "office", "me", store.NoLease); !errors.Is(err, store.ErrNoLease) {
		t.Errorf("a campaign without a lease: %v", err)
	}
	if err := store.Campaign(ctx, s, "office", "me", l); !errors.Is(err, store.ErrNoLease) {
		t.Errorf("a campaign with a lease that has ended: %v", err)
	}
}
