package hostdoor_test

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostdoor"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
)

// countsIn is what a host says that has counted in a store.
func countsIn(t *testing.T, counted store.Store, prefix string) (q hostlink.CountsRequest) {
	t.Helper()
	page, err := counted.List(t.Context(), store.Range{Prefix: prefix})
	must(t, err)
	for _, record := range page.Records {
		q.Records = append(q.Records, hostlink.Counted{Key: record.Key, Value: record.Value})
	}
	return q
}

// counts says whether what the host has counted just now of an instance is kept.
func (h *host) counts(id string) bool {
	h.t.Helper()
	own := mem.New()
	counted := history.New(history.Config{Store: own, Host: h.name})
	counted.Add(id, time.Now(), openimds.MetricNoToken, 7)
	must(h.t, counted.Flush(h.t.Context()))
	q := countsIn(h.t, own, history.SamplePrefix)
	status, answer := h.ask(hostlink.PathCounts, q)
	var told hostlink.CountsAnswer
	must(h.t, json.Unmarshal([]byte(answer), &told))
	if status != http.StatusOK || len(q.Records) != 1 {
		h.t.Fatalf("%d %s", status, answer)
	}
	return len(told.Refused) == 0
}

// What a host has counted is kept under its own name, of its own instances, and once however often it comes.
func TestCountsOfAHost(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a, _ := r.join("host-a"), r.join("host-b")
	mine, theirs := r.create("mine", ""), r.create("theirs", "")
	r.attach("mine", "host-a", "tap0")
	r.attach("theirs", "host-b", "tap0")
	own := mem.New()
	meter := func(host string) *history.History { return history.New(history.Config{Store: own, Host: host}) }
	counted := meter("host-a")
	for _, id := range []string{mine.ID, theirs.ID} {
		counted.Add(id, time.Now(), openimds.MetricNoToken, 7)
	}
	must(t, counted.Flush(t.Context()))
	forged := meter("host-b")
	forged.Add(mine.ID, time.Now(), openimds.MetricNoToken, 100)
	must(t, forged.Flush(t.Context()))
	q := countsIn(t, own, "usage/")
	q.Records = append(q.Records,
		hostlink.Counted{Key: usage.CallersKey(mine.ID, "host-a"), Value: []byte{99}},
		hostlink.Counted{Key: "instance/theirs", Value: []byte("{}")},
		hostlink.Counted{Key: history.SamplePrefix + "2020-01-01/" + mine.ID + "/host-a", Value: []byte{3}})
	for range 3 {
		status, answer := a.ask(hostlink.PathCounts, q)
		var told hostlink.CountsAnswer
		must(t, json.Unmarshal([]byte(answer), &told))
		if status != http.StatusOK || len(told.Refused) != len(q.Records)-2 { // all but its own samples and its mark
			t.Fatalf("%d %s", status, answer)
		}
	}
	for i := range q.Records { // nor does it take back what is counted
		q.Records[i].Value = nil
	}
	if status, answer := a.ask(hostlink.PathCounts, q); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	now := time.Now()
	all := history.New(history.Config{Store: r.store, Host: "replica"})
	for id, want := range map[string]int64{mine.ID: 7, theirs.ID: 0} {
		points, err := all.Points(context.Background(), id, []string{openimds.MetricNoToken}, now.Add(-time.Hour), now.Add(time.Hour), time.Hour)
		must(t, err)
		sum := int64(0)
		for _, p := range points[0] {
			sum += int64(p.Sum)
		}
		if sum != want {
			t.Errorf("of %s %d calls are known, not %d", id, sum, want)
		}
	}
}

// Where an engine of metrics is asked for samples, none is kept: the host's mark is, and who calls. What the host told before it
// may take back, and nobody else's; where no engine is asked it may not.
func TestCountsBesideAnEngine(t *testing.T) {
	t.Parallel()
	r := newReplica(t, func(c *hostdoor.Config) { c.Installation = "ours" })
	a, _ := r.join("host-a"), r.join("host-b")
	mine := r.create("mine", "")
	r.attach("mine", "host-a", "tap0")
	own := mem.New()
	for _, host := range []string{"host-a", "host-b"} {
		meter := usage.NewMeter(usage.Config{Store: own, Host: host, History: history.New(history.Config{Store: own, Host: host})})
		meter.Guest(mine.ID, "mine").Count(usage.NoToken, netip.MustParseAddr("10.0.0.1"), []byte("latest/meta-data/"), []byte("curl"), time.Now())
		must(t, meter.Flush(t.Context()))
	}
	q := countsIn(t, own, "usage/")
	keep := func() (kept []string) {
		t.Helper()
		status, answer := a.ask(hostlink.PathCounts, q)
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		page, err := r.store.List(t.Context(), store.Range{Prefix: "usage/"})
		must(t, err)
		for _, record := range page.Records {
			kept = append(kept, record.Key)
		}
		return kept
	}
	who, mark := usage.CallersKey(mine.ID, "host-a"), history.MarkKey("host-a")
	if kept := keep(); len(q.Records) < 6 || !slices.Equal(kept, []string{who, mark}) {
		t.Errorf("of %d counts %v are kept", len(q.Records), kept)
	}
	// They are what was told before.
	var theirs []string
	for _, record := range q.Records {
		_, err := r.store.Commit(t.Context(), store.Change{Verb: store.Put, Key: record.Key, Value: record.Value, If: store.Whatever})
		must(t, err)
		if !strings.HasSuffix(record.Key, "/host-a") || record.Key == who {
			theirs = append(theirs, record.Key)
		}
	}
	for i := range q.Records {
		q.Records[i].Value = nil
	}
	if kept := keep(); !slices.Equal(kept, theirs) {
		t.Errorf("when it takes back all, %v are kept, not %v", kept, theirs)
	}
}

// What a host counted of an instance before that was another's comes late, and is known all the same; of an instance
// that never was the host's it is not, nor after as long as callers are remembered.
func TestCountsOfAnEarlierHost(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a, b := r.join("host-a"), r.join("host-b")
	moved, detached := r.create("moved", ""), r.create("detached", "")
	r.attach("moved", "host-a", "tap0")
	r.attach("detached", "host-a", "tap1")
	r.attach("moved", "host-b", "tap0")
	r.detach("detached")
	if b.counts(detached.ID) {
		t.Error("a host counts an instance that never was its own")
	}
	_, err := r.services[home].Forget(t.Context())
	must(t, err)
	for _, in := range []*openimds.Instance{moved, detached} {
		if !a.counts(in.ID) {
			t.Errorf("what the former host counted of %s is lost", in.Name)
		}
	}
	if !b.counts(moved.ID) {
		t.Error("what the present host counted is lost")
	}
	// Also where a later release has written when it was: of whose it was the key tells, and no other count waits for it.
	served, err := r.store.Get(t.Context(), records.ServedKey(moved.ID, "host-a"))
	must(t, err)
	unread := store.Change{Verb: store.Put, Key: served.Key, Value: []byte(`{"schema":9,"data":[]}`), If: store.Whatever}
	_, err = r.store.Commit(t.Context(), unread)
	must(t, err)
	if !a.counts(moved.ID) {
		t.Error("what the former host counted is lost to a replica of an earlier release")
	}
	unread.Value = served.Value
	_, err = r.store.Commit(t.Context(), unread)
	must(t, err)
	// So is that of an instance that is gone. Once it is forgotten that it was the host's, what was counted before opens nothing.
	_, err = r.store.Commit(t.Context(), store.Change{Verb: store.Delete, Key: records.InstanceIDKey(detached.ID), If: store.Whatever})
	must(t, err)
	if !a.counts(detached.ID) {
		t.Error("what was counted of an instance that is gone is lost")
	}
	for _, in := range []*openimds.Instance{moved, detached} {
		_, err := r.store.Commit(t.Context(), store.Change{Verb: store.Delete, Key: records.ServedKey(in.ID, "host-a"), If: store.Whatever})
		must(t, err)
		if a.counts(in.ID) {
			t.Errorf("a host goes on counting %s, which is its own no more since long", in.Name)
		}
	}
}

// A replica keeps what a host counted of an instance in a region that it does not have itself, as where one is added to the
// replicas one after the other: the host asks whichever it can reach, and what none keeps is lost.
func TestCountsOfARegionThatTheReplicaLacks(t *testing.T) {
	t.Parallel()
	r := newReplica(t, func(cfg *hostdoor.Config) { cfg.Regions = cfg.Regions[:1] })
	a, b := r.join("host-a"), r.join("host-b")
	enrolled, err := r.store.Get(t.Context(), records.EnrolledKey("host-a"))
	must(t, err)
	of, err := records.Decode[records.Enrolled](enrolled)
	must(t, err)
	lease, err := r.services[further].ForHost(control.HostProcess{Name: "host-a", Process: process, Enrolment: of.ID, Attaches: true}).JoinHost(t.Context(), true)
	must(t, err)
	r.keepAlive(lease)
	mine, gone := r.createIn(further, "mine"), r.createIn(further, "gone")
	r.createIn(home, "mine")
	for link, name := range map[string]string{"tap0": "mine", "tap1": "gone"} {
		_, err := r.services[further].AttachInstance(t.Context(), openimds.Attachment{Instance: name, Host: "host-a", Interface: link})
		must(t, err)
	}
	_, err = r.services[further].DetachInstance(t.Context(), "gone")
	must(t, err)
	for _, in := range []*openimds.Instance{mine, gone} {
		if !a.counts(in.ID) {
			t.Errorf("what was counted of %s is lost", in.Name)
		}
		if b.counts(in.ID) {
			t.Errorf("a host counts %s, which never was its own", in.Name)
		}
	}
}

// What a host counts of an instance whose attachment this replica cannot read, as that of a later release, is known: the
// place tells whose it is.
func TestCountsOfAnUnreadAttachment(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a, b := r.join("host-a"), r.join("host-b")
	in := r.create("mine", "")
	r.attach("mine", "host-a", "tap0")
	_, err := r.store.Commit(t.Context(), store.Change{Key: records.AttachmentPrefix + "mine", Value: []byte(`{"schema":99,"data":{}}`), If: store.Whatever})
	must(t, err)
	if !a.counts(in.ID) {
		t.Error("what the host counted is lost")
	}
	if b.counts(in.ID) {
		t.Error("a host counts what is another's")
	}
}

// What a host has counted is known of the time in which it had the instance, to five minutes, and no call of another time:
// one that has said that it has let go, or was there anew, has no more of it; one that was cut off then may have answered
// for it until it is there again.
func TestCountsOfAnotherTime(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(openimds.MetricPeriod)
	from, until := now.Add(-20*time.Hour), now.Add(-10*time.Hour)
	ago := func(h int) time.Duration { return time.Duration(h) * time.Hour }
	for name, c := range map[string]struct {
		stays []records.Stay
		at    bool            // the instance is the host's now
		since time.Duration   // how long the host is there; 0: it is not
		known []time.Duration // before now, of every hour for the last 30
	}{
		"let go":                {[]records.Stay{{From: from, Until: until}}, false, ago(100), hours(10, 20)},
		"twice":                 {[]records.Stay{{From: from, Until: from.Add(time.Hour)}, {From: until, Until: until.Add(time.Hour)}}, false, ago(100), append(hours(9, 10), hours(19, 20)...)},
		"cut off":               {[]records.Stay{{From: from, Until: until, Open: true}}, false, 0, hours(0, 20)},
		"cut off, and there":    {[]records.Stay{{From: from, Until: until, Open: true}}, false, ago(5), hours(5, 20)},
		"has yet to let go":     {[]records.Stay{{From: from, Until: until, Open: true}}, false, ago(100), hours(0, 20)},
		"of an earlier release": {[]records.Stay{{Until: until, Open: true}}, false, ago(5), hours(5, 30)},
		"and has it again":      {[]records.Stay{{From: from, Until: until}}, true, ago(100), append(hours(0, 0), hours(10, 20)...)},
		"never":                 {nil, false, ago(100), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			a := r.join("host-a")
			in := r.create("web", "")
			if c.at {
				r.attach("web", "host-a", "tap0")
			}
			put := func(key string, v any) {
				value, err := records.Encode(v)
				must(t, err)
				_, err = r.store.Commit(t.Context(), store.Change{Verb: store.Put, Key: key, Value: value, If: store.Whatever})
				must(t, err)
			}
			if c.stays != nil {
				put(records.ServedKey(in.ID, "host-a"), records.Served{Stays: c.stays})
			}
			_, err := r.store.Commit(t.Context(), store.Change{Verb: store.Delete, Key: records.HostKey("host-a"), If: store.Whatever})
			must(t, err)
			if c.since != 0 {
				put(records.HostKey("host-a"), records.Host{Since: now.Add(-c.since), Attaches: true})
			}
			own := mem.New()
			counted := history.New(history.Config{Store: own, Host: "host-a"})
			for back := range 31 {
				counted.Add(in.ID, now.Add(-ago(back)), openimds.MetricNoToken, 1)
			}
			must(t, counted.Flush(t.Context()))
			q := countsIn(t, own, history.SamplePrefix)
			for range 2 { // what was found out of a stay that was open is kept
				if status, answer := a.ask(hostlink.PathCounts, q); status != http.StatusOK {
					t.Fatalf("%d %s", status, answer)
				}
			}
			points, err := history.New(history.Config{Store: r.store, Host: "replica"}).Points(t.Context(), in.ID, []string{openimds.MetricNoToken}, now.Add(-31*time.Hour), now.Add(openimds.MetricPeriod), openimds.MetricPeriod)
			must(t, err)
			var known []time.Duration
			for _, p := range points[0] {
				known = append(known, now.Sub(p.Start))
			}
			slices.Sort(known)
			slices.Sort(c.known)
			if !slices.Equal(known, c.known) {
				t.Errorf("known are the calls of %v ago, want %v", known, c.known)
			}
		})
	}
}

// hours are those from one to another.
func hours(from, to int) (all []time.Duration) {
	for h := from; h <= to; h++ {
		all = append(all, time.Duration(h)*time.Hour)
	}
	return all
}

// Requests of a host that are carried out late, or at two replicas at once, undo nothing of what is known: of each sample
// the most that was counted, and of callers the latest.
func TestCountsAtOnce(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	in := r.create("web", "")
	r.attach("web", "host-a", "tap0")
	own := mem.New()
	meter := usage.NewMeter(usage.Config{Store: own, Host: "host-a", History: history.New(history.Config{Store: own, Host: "host-a"})})
	guest := meter.Guest(in.ID, "web")
	var requests []hostlink.CountsRequest
	const calls = 12
	for range calls {
		guest.Count(usage.NoToken, netip.MustParseAddr("192.0.2.1"), []byte("/"), []byte("curl"), time.Now())
		must(t, meter.Flush(t.Context()))
		q := countsIn(t, own, "usage/")
		q.Records = slices.DeleteFunc(q.Records, func(c hostlink.Counted) bool { return strings.HasPrefix(c.Key, history.MarkPrefix) })
		requests = append(requests, q)
	}
	rand.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
	var asking sync.WaitGroup
	for _, q := range requests {
		asking.Go(func() {
			for status := 0; status != http.StatusOK; {
				status, _ = a.ask(hostlink.PathCounts, q) // 503: too many others were faster
			}
		})
	}
	asking.Wait()
	reader := usage.NewMeter(usage.Config{Store: r.store, Host: "replica", History: history.New(history.Config{Store: r.store, Host: "replica"})})
	points, err := reader.Points(t.Context(), in.ID, []string{openimds.MetricNoToken}, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), 3*time.Hour)
	must(t, err)
	callers, err := reader.Callers(t.Context(), in.ID, time.Time{})
	must(t, err)
	if len(points[0]) != 1 || points[0][0].Sum != calls || len(callers) != 1 || callers[0].Counts[openimds.MetricNoToken] != calls {
		t.Errorf("known are %+v and %+v, want %d calls", points[0], callers, calls)
	}
}
