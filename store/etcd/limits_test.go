package etcd_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/etcd"
	"github.com/openimds/openimds/store/etcd/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

func plain(t testing.TB, members ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: members, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func changes(n, size int) (all []store.Change) {
	for i := range n {
		all = append(all, store.Change{Key: fmt.Sprintf("k/%05d", i), Value: make([]byte, size), If: store.IfAbsent})
	}
	return all
}

// What the contract promises to take is taken, and what is more than etcd takes is refused before it is sent, whole.
func TestLimits(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	s := open(t, c.Addresses(), "/a/prefix/that/is/not/short")
	defer s.Close()
	for _, row := range []struct {
		n, size int
		refused bool
	}{{100, 10 << 10, false}, {128, 10, false}, {1, 1<<20 + 1<<18, false}, {129, 1, true}, {1, 2 << 20, true}, {100, 20 << 10, true}} {
		_, err := s.Commit(t.Context(), changes(row.n, row.size)...)
		if row.refused != errors.Is(err, store.ErrTooLarge) || !row.refused && err != nil {
			t.Errorf("%d changes of %d bytes: %v", row.n, row.size, err)
		}
		page, err := s.List(t.Context(), store.Range{Prefix: "k/"})
		if want := row.n; err != nil || !row.refused && len(page.Records) != want || row.refused && len(page.Records) != 0 {
			t.Errorf("%d changes of %d bytes: %d records, %v", row.n, row.size, len(page.Records), err)
		}
		var deleted []store.Change
		for _, r := range page.Records {
			deleted = append(deleted, store.Change{Verb: store.Delete, Key: r.Key, If: r.Revision})
		}
		if _, err := s.Commit(t.Context(), deleted...); err != nil {
			t.Fatal(err)
		}
	}
}

// A list is of one revision, whatever is written while its pages are read, and goes on when that is compacted.
func TestListInPages(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	s := open(t, c.Addresses(), "/pages")
	defer s.Close()
	const all = 1000
	for from := 0; from < all; from += 100 {
		batch := changes(all, 4<<10)[from : from+100]
		if _, err := s.Commit(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
	// It is compacted once while each list is read: a history that never reached back to a list's beginning would let none
	// come to its end.
	raw, stop, stopped, compact := plain(t, c.Addresses()), make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			put := func(key string) clientv3.Op { return clientv3.OpPut("/pages/"+key, fmt.Sprint(i)) }
			answer, err := raw.Txn(t.Context()).Then(put("k/00000"), put("k/00999")).Commit()
			select {
			case <-stop:
				return
			case <-compact:
				if err == nil {
					_, err = raw.Compact(t.Context(), answer.Header.Revision)
				}
			default:
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 8 {
		select {
		case compact <- struct{}{}:
		default: // the one before is not made yet
		}
		page, err := s.List(t.Context(), store.Range{Prefix: "k/"})
		if err != nil || len(page.Records) != all {
			t.Fatalf("%d records, %v", len(page.Records), err)
		}
		first, last := page.Records[0], page.Records[all-1]
		if first.Revision != last.Revision && min(first.Revision, last.Revision) > 20 || len(first.Value) != len(last.Value) {
			t.Fatalf("a list has two moments: %d and %d", first.Revision, last.Revision)
		}
	}
	close(stop)
	<-stopped
}

// Requests end when nobody answers, in a line that says who does not, and go on when there is an answer again.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	impatient := etcd.Config{Address: address(t, etcd.Scheme+c.Addresses()), Timeout: time.Second} // which is little on a busy machine
	var s *etcd.Store
	until(t, "it opens", func() (ok bool) { s, ok = got(etcd.Open(t.Context(), impatient)); return ok })
	defer s.Close()
	var l store.Lease
	until(t, "it grants", func() (ok bool) { l, ok = got(s.Grant(t.Context(), time.Hour)); return ok })
	c.Members[0].Kill()
	for what, err := range map[string]error{
		"Get":       errOf(s.Get(t.Context(), "k")),
		"List":      errOf(s.List(t.Context(), store.Range{})),
		"Commit":    errOf(s.Commit(t.Context(), changes(1, 1)...)),
		"Grant":     errOf(s.Grant(t.Context(), time.Hour)),
		"KeepAlive": s.KeepAlive(t.Context(), l),
		"Revoke":    s.Revoke(t.Context(), l),
	} {
		if err == nil || !strings.Contains(err.Error(), "etcd at "+c.Addresses()+" does not answer") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := etcd.Open(t.Context(), impatient); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("Open: %v", err)
	}
	<-s.Refusing()
	c.Members[0].Start()
	c.Members[0].Await()
	until(t, "it takes changes again", func() bool { return s.Health() == nil })
	until(t, "it answers again", func() bool { return s.KeepAlive(t.Context(), l) == nil })
}

func errOf[T any](_ T, err error) error { return err }

func got[T any](v T, err error) (T, bool) { return v, err == nil }

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
