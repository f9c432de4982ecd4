package hostdoor_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/history"
)

// A host that has lost what it counted counts anew beside what replicas have of it, and undoes none of that: not what it
// counted in the same minutes, and not the callers of weeks.
func TestCountsBegunAnew(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	in := r.create("web", "")
	r.attach("web", "host-a", "tap0")
	file := func() (store.Store, string) {
		kept := mem.New()
		name, err := hostlink.CountsName(t.Context(), kept, "host-a")
		must(t, err)
		if again, err := hostlink.CountsName(t.Context(), kept, "host-a"); err != nil || again != name || hostlink.CountedBy(name) != "host-a" || name == "host-a" {
			t.Fatalf("a file's name is %q, then %q, %v", name, again, err)
		}
		return kept, name
	}
	push := func(kept store.Store) {
		q := countsIn(t, kept, "usage/")
		for range 2 {
			if status, answer := a.ask(hostlink.PathCounts, q); status != http.StatusOK || strings.TrimSpace(answer) != "{}" {
				t.Fatalf("%d %s", status, answer)
			}
		}
	}
	now := time.Now()
	marks := func() []store.Record {
		page, err := r.store.List(t.Context(), store.Range{Prefix: history.MarkPrefix})
		must(t, err)
		return page.Records
	}
	for i, calls := range []uint64{700, 1} {
		kept, name := file()
		counted := history.New(history.Config{Store: kept, Host: name})
		must(t, counted.Open(t.Context()))
		counted.Add(in.ID, now, openimds.MetricNoToken, calls)
		must(t, counted.Flush(t.Context()))
		push(kept)
		if all := marks(); len(all) != 1 || all[0].Key != history.MarkKey(name) {
			t.Errorf("after file %d the marks are %v", i, all)
		}
	}
	points, err := history.New(history.Config{Store: r.store, Host: "replica"}).Points(t.Context(), in.ID, []string{openimds.MetricNoToken}, now.Add(-time.Hour), now.Add(time.Hour), 2*time.Hour)
	must(t, err)
	if len(points[0]) != 1 || points[0][0].Sum != 701 {
		t.Errorf("known are %+v", points[0])
	}
	// No host counts by names without end.
	refused := 0
	for i := range 40 {
		key := history.MarkKey(fmt.Sprintf("host-a~%08x", i))
		if status, _ := a.ask(hostlink.PathCounts, hostlink.CountsRequest{Records: []hostlink.Counted{{Key: key, Value: []byte{2}}}}); status != http.StatusOK {
			refused++
		}
	}
	names, err := r.store.Get(t.Context(), records.CountingKey("host-a"))
	must(t, err)
	all, err := records.Decode[[]records.Counting](names)
	if err != nil || len(all) != 16 || refused != 26 {
		t.Errorf("a host counts by %d names, %d were refused, %v", len(all), refused, err)
	}
	if n := len(marks()); n > 16 {
		t.Errorf("there are %d marks", n)
	}
}

// Of what does not end in a host's name or a mark behind it, nobody knows who has counted it.
func TestCountedBy(t *testing.T) {
	for name, want := range map[string]string{
		"host-a": "host-a", "host-a~00ff": "host-a", "": "", "~00": "", "host-a~": "", "host-a~xyz": "", "host-a~0~0": "",
		"host-a~00112233445566778": "",
	} {
		if got := hostlink.CountedBy(name); got != want {
			t.Errorf("%q is counted by %q, not %q", name, got, want)
		}
	}
}
