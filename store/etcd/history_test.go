package etcd_test

import (
	"errors"
	"os"
	"testing"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/etcd/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// put writes beside the store, as another server does, and tells the revision.
func put(t *testing.T, c *clientv3.Client, key, value string) int64 {
	t.Helper()
	return must(c.Put(t.Context(), key, value))(t).Header.Revision
}

// A watch goes on where it was when its member comes back; changes that were compacted meanwhile, it is told of.
func TestWatchCompacted(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	s, raw := open(t, c.Addresses(), "/p"), plain(t, c.Addresses())
	defer s.Close()
	w := s.Watch("", put(t, raw, "/p/a", "1"))
	put(t, raw, "/other", "x")
	put(t, raw, "/p/b", "1")
	if records := must(w.Next(t.Context()))(t); len(records) != 1 || records[0].Key != "b" {
		t.Fatalf("told %+v", records)
	}
	member := c.Members[0]
	member.Kill()
	member.Start()
	member.Await()
	put(t, raw, "/p/c", "1")
	if records := must(w.Next(t.Context()))(t); len(records) != 1 || records[0].Key != "c" {
		t.Fatalf("after a restart it is told %+v", records)
	}
	// While nobody is connected, all that happened is compacted away.
	held := s.Watch("", must(s.List(t.Context(), store.Range{}))(t).Revision)
	pauseWatch(t, c, func() {
		last := put(t, raw, "/p/d", "1")
		last = max(last, put(t, raw, "/p/e", "1"))
		must(raw.Compact(t.Context(), last))(t)
	})
	for {
		records, err := held.Next(t.Context())
		if errors.Is(err, store.ErrCompacted) {
			break // the cluster's history does not reach back
		}
		if err != nil {
			t.Fatal(err)
		}
		if records[len(records)-1].Key == "e" {
			break // the watch was there before the compaction
		}
	}
	page := must(s.List(t.Context(), store.Range{}))(t)
	next := s.Watch("", page.Revision)
	put(t, raw, "/p/f", "1")
	if records := must(next.Next(t.Context()))(t); len(records) != 1 || records[0].Key != "f" {
		t.Errorf("after the compaction it is told %+v", records)
	}
}

// pauseWatch does something while the cluster is there and the store's connection has just been lost.
func pauseWatch(t *testing.T, c *etcdtest.Cluster, do func()) {
	t.Helper()
	c.Members[0].Kill()
	c.Members[0].Start()
	c.Members[0].Await()
	do()
}

// A cluster that was put back to an earlier state, or made anew, is another one: whoever watches lists again.
func TestWatchSetBack(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, 1)
	s, raw := open(t, c.Addresses(), "/p"), plain(t, c.Addresses())
	defer s.Close()
	var last int64
	for range 20 {
		last = put(t, raw, "/p/a", "1")
	}
	w := s.Watch("", last)
	ended := make(chan error, 1)
	go func() {
		_, err := w.Next(t.Context())
		ended <- err
	}()
	member := c.Members[0]
	member.Kill()
	if err := os.RemoveAll(member.Dir); err != nil {
		t.Fatal(err)
	}
	member.Start()
	member.Await()
	if err := <-ended; !errors.Is(err, store.ErrCompacted) {
		t.Fatalf("the watch of a cluster that was set back: %v", err)
	}
	put(t, raw, "/p/new", "1")
	for { // the cluster may be followed anew only after it was listed, which makes it another list
		page := must(s.List(t.Context(), store.Range{}))(t)
		if len(page.Records) != 1 || page.Records[0].Key != "new" || page.Revision >= last {
			t.Fatalf("it has %+v", page)
		}
		w = s.Watch("", page.Revision)
		put(t, raw, "/p/newer", "1")
		records, err := w.Next(t.Context())
		if errors.Is(err, store.ErrCompacted) {
			must(raw.Delete(t.Context(), "/p/newer"))(t)
			continue
		}
		if err != nil || len(records) != 1 || records[0].Key != "newer" {
			t.Errorf("told %+v, %v", records, err)
		}
		return
	}
}
