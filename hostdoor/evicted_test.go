package hostdoor_test

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostdoor"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// evict evicts a host, and returns when the replica has heard of it.
func (r *replica) evict(h *host) {
	r.t.Helper()
	_, err := r.store.Commit(r.t.Context(), store.Change{Verb: store.Delete, Key: records.EnrolledKey(h.name), If: store.Whatever})
	must(r.t, err)
	eventually(r.t, "the replica hears of the eviction", func() bool {
		status, _ := h.ask(hostlink.PathKeep, hostlink.LeaseRequest{Of: hostlink.Of{Region: home, Process: process}, Lease: h.lease})
		return status == http.StatusForbidden
	})
}

func (r *replica) setUserData(name string, data []byte) {
	r.t.Helper()
	_, err := r.services[home].SetInstance(r.t.Context(), name, control.InstanceUpdate{UserData: &data})
	must(r.t, err)
}

// follow opens a stream, of which nothing is read yet.
func (h *host) follow() io.ReadCloser {
	h.t.Helper()
	var stream io.ReadCloser
	patiently(h.t, func() error {
		resp, err := h.http.Post("https://"+h.address+hostlink.PathFollow, "application/json", strings.NewReader("{}"))
		if err == nil {
			stream = resp.Body
		}
		return err
	})
	h.t.Cleanup(func() { _ = stream.Close() })
	return stream
}

// A host is not sent what was read for it while it was evicted: that may be of afterwards.
func TestEvictedWhileRead(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	r.create("mine", "of a")
	r.attach("mine", "host-a", "tap0")
	evicted := false
	r.mu.Lock()
	r.reads = func(key string) {
		if key != records.InstancePrefix+"mine" || evicted {
			return
		}
		evicted = true
		r.evict(a)
		r.setUserData("mine", []byte("of after the eviction"))
	}
	r.mu.Unlock()
	told, err := io.ReadAll(a.follow())
	if !evicted {
		t.Fatalf("nothing was read: %v", err)
	}
	if bytes.Contains(told, []byte("instance/mine")) {
		t.Errorf("an evicted host is told:\n%s", told)
	}
}

// A host that reads slowly has nothing more, once it is evicted, of what it could have had before.
func TestEvictedWhileBehind(t *testing.T) {
	t.Parallel()
	const changes = 400 // more than goes out before anybody reads
	r := newReplica(t)
	a := r.join("host-a")
	for _, name := range []string{"one", "two"} {
		r.create(name, "of a")
		r.attach(name, "host-a", "tap-"+name)
	}
	told, behind, first := false, make(chan struct{}), ""
	r.mu.Lock()
	r.reads = func(key string) {
		name, ok := strings.CutPrefix(key, records.InstancePrefix)
		switch {
		case !ok || told || name == first:
			return
		case first == "":
			first = name
			return
		}
		// The stream waits for the second one, and has told of the first one, which changes and changes.
		told = true
		for range changes {
			r.setUserData(first, bytes.Repeat([]byte("x"), 16<<10))
		}
		eventually(t, "the stream is behind", func() bool { return r.door.Queued("host-a") >= changes })
		close(behind)
	}
	r.mu.Unlock()
	stream := a.follow()
	<-behind
	eventually(t, "the stream tells what has changed", func() bool { return r.door.Queued("host-a") == 0 })
	r.evict(a)
	all, _ := io.ReadAll(stream)
	if n := bytes.Count(all, []byte("\n")); n >= changes {
		t.Errorf("the evicted host was told %d things, as if it was none", n)
	}
	eventually(t, "the stream has ended", func() bool { return r.door.Streams() == 0 })
}

// A host that was evicted changes nothing either at a replica that has not heard of it yet.
func TestEvictedElsewhere(t *testing.T) {
	t.Parallel()
	r := newReplica(t, func(c *hostdoor.Config) {
		deaf, err := hostcert.Open(t.Context(), hostcert.Config{Store: c.Whole, Log: c.Log}) // it does not follow who is a host
		must(t, err)
		c.Authority = deaf
	})
	a := r.join("host-a")
	in := r.create("mine", "of a")
	r.attach("mine", "host-a", "tap0")
	patiently(t, func() error { return a.region.TakeSeats(t.Context(), a.lease, "mine") })
	hops := 3
	op, err := r.services[home].UpdateOptions(t.Context(), "mine", openimds.OptionsUpdate{HopLimit: &hops})
	must(t, err)
	attachment, err := r.services[home].Attachment(t.Context(), "mine")
	must(t, err)
	patiently(t, func() error { return a.region.KeepAlive(t.Context(), a.lease) })
	// With its leases as they are: they end by themselves where the eviction was not asked for.
	_, err = r.store.Commit(t.Context(), store.Change{Verb: store.Delete, Key: records.EnrolledKey("host-a"), If: store.Whatever})
	must(t, err)
	before := r.everything()
	tries := a.attempts(in, attachment.CreatedAt, op.ID, a.lease)
	for _, region := range []string{home, further} {
		tries[hostlink.PathJoin] = hostlink.JoinRequest{Of: hostlink.Of{Region: region, Process: process}, TakeOver: true, Attaches: true}
		for path, body := range tries {
			status, answer := a.ask(path, body)
			if status == http.StatusOK && path != hostlink.PathFaults { // there are none: nothing to change
				t.Errorf("%s: %s", path, answer)
			}
		}
	}
	if after := r.everything(); !maps.Equal(before, after) {
		t.Errorf("an evicted host has changed something:\n%q\n%q", before, after)
	}
}
