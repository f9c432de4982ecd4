package hostdoor_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/history"
)

// What a host counts of an instance that was moved away from it while it was cut off is not known before it tells of it, and
// is not taken for nothing: the next host's counts are not all of them. It is known once the host is back and has told, and
// of what comes then, once it is evicted.
func TestCutOffAndMoved(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"it comes back", "it is evicted"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			r := newReplica(t)
			a, b := r.join("host-a"), r.join("host-b")
			in := r.create("web", "")
			began := time.Now().Truncate(openimds.MetricPeriod).Add(openimds.MetricPeriod)
			forward := func(samples int) { // to when so many are past
				r.forward(began.Add(time.Duration(samples)*openimds.MetricPeriod + openimds.MetricPeriod*3/4))
			}
			forward(0)
			r.attach("web", "host-a", "tap0")
			byA, byB := newCounting(a), newCounting(b)
			byA.calls(in.ID, 1)
			byA.tell()
			must(t, r.store.Revoke(t.Context(), a.lease)) // it is cut off
			r.attach("web", "host-b", "tap0")
			const samples = 4
			for n := range samples {
				forward(n)
				if n > 0 {
					byA.calls(in.ID, 1)
				}
				byB.calls(in.ID, 0)
				byB.tell()
			}
			read := history.New(history.Config{Store: r.store, Host: "replica", Now: r.clock, Former: control.FormerHosts(r.store)})
			api := control.New(r.store, control.Config{Region: home, Whole: r.store, AccountID: "123456789012", History: read, Now: r.clock})
			known := func(since time.Time) (sum float64, all bool) {
				t.Helper()
				of, err := api.Known(t.Context(), "web", since, time.Time{})
				must(t, err)
				points, err := read.Points(t.Context(), in.ID, []string{openimds.MetricNoToken}, began, r.clock(), openimds.MetricPeriod)
				must(t, err)
				for _, p := range points[0] {
					sum += p.Sum
				}
				return sum, of.Complete
			}
			if sum, all := known(began.Add(2 * openimds.MetricPeriod)); sum != 1 || all {
				t.Errorf("of a host that is cut off %v calls are known, and %v that these are all", sum, all)
			}
			if end == "it comes back" {
				a.joinHost(home)
				byA.tell()
				if sum, all := known(began.Add(2 * openimds.MetricPeriod)); sum != samples || !all {
					t.Errorf("once it has told %v calls are known, and %v that these are all", sum, all)
				}
				return
			}
			must(t, api.EvictHost(t.Context(), "host-a"))
			for n := range 3 {
				forward(samples + n)
				byB.calls(in.ID, 0)
				byB.tell()
			}
			if _, all := known(began.Add(2 * openimds.MetricPeriod)); all {
				t.Error("what it has not told is taken for known")
			}
			if _, all := known(began.Add((samples + 1) * openimds.MetricPeriod)); !all {
				t.Error("what was counted since is not known")
			}
		})
	}
}

// counting is what a host counts.
type counting struct {
	host    *host
	kept    *mem.Store
	counted *history.History
}

func newCounting(h *host) *counting {
	kept := mem.New()
	c := &counting{h, kept, history.New(history.Config{Store: kept, Host: h.name, Now: h.replica.clock})}
	must(h.t, c.counted.Open(h.t.Context()))
	return c
}

// calls counts some now.
func (c *counting) calls(id string, n uint64) {
	now := c.host.replica.clock()
	c.counted.Begin(id, now)
	c.counted.Add(id, now, openimds.MetricNoToken, n)
}

// tell stores what was counted, and that this is all of what is past, and tells a replica.
func (c *counting) tell() {
	t := c.host.t
	t.Helper()
	must(t, c.counted.Flush(t.Context()))
	must(t, c.counted.Flush(t.Context()))
	if status, answer := c.host.ask(hostlink.PathCounts, countsIn(t, c.kept, "usage/")); status != http.StatusOK || strings.Contains(answer, "refused") {
		t.Fatalf("%d %s", status, answer)
	}
}
