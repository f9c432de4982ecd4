package usage_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
)

// When a caller came is kept with it: in memory, in the store, and by a process that was killed before its last flush.
func TestVisits(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	g := r.Guest(id, "web-1")
	var visits, sittings []time.Time
	come := func(calls int) {
		visits = append(visits, c.now())
		for range calls {
			g.Count(usage.WithToken, source, path, agent, c.now())
			c.forward(10 * time.Millisecond)
		}
	}
	check := func(what string, r *usage.Meter) {
		t.Helper()
		all := callersOf(t, r, time.Time{})
		if len(all) != 1 {
			t.Fatalf("%s: %d callers", what, len(all))
		}
		for name, list := range map[string][2][]time.Time{"visits": {all[0].Visits, visits}, "sittings": {all[0].Sittings, sittings}} {
			got, want := list[0], list[1][max(len(list[1])-12, 0):]
			for i := range want { // in tenths of seconds
				want[i] = want[i].Truncate(100 * time.Millisecond)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %s\n%v\nwant\n%v", what, name, got, want)
			}
		}
	}
	for day := range 20 {
		sittings = append(sittings, c.now())
		for range 3 {
			come(4)
			c.forward(time.Minute)
		}
		if day%7 == 6 { // a later process goes on
			check("in memory", r)
			flush(t, r)
			check("flushed", r)
			r = newRecorder(kept, c)
			check("after a restart", r)
			g = r.Guest(id, "web-1")
			check("in the later process", r)
		}
		c.forward(24 * time.Hour)
	}
}

// A clock that is set back and forth loses no caller, and the record of it can be read.
func TestVisitsByABadClock(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	g := r.Guest(id, "web-1")
	for _, step := range []time.Duration{time.Hour, -365 * 24 * time.Hour, time.Minute, 366 * 24 * time.Hour, -time.Second, time.Hour} {
		g.Count(usage.Forwarded, source, path, agent, c.now())
		c.forward(step)
		flush(t, r)
		if got := callersOf(t, newRecorder(kept, c), time.Time{}); len(got) != 1 || len(got[0].Visits) == 0 {
			t.Errorf("%+v", got)
		}
	}
}

// Who came through a proxy is known by it, also after a restart, and no more when it is old.
func TestForwarded(t *testing.T) {
	c := newClock()
	kept := mem.New()
	r := newRecorder(kept, c)
	g := r.Guest(id, "web-1")
	other := netip.MustParseAddr("10.0.0.99")
	g.Count(usage.TokenRefused, other, nil, agent, c.now())
	at := c.now()
	g.Count(usage.Forwarded, source, []byte("latest/api/token"), agent, at)
	flush(t, r)
	for _, r := range []*usage.Meter{r, newRecorder(kept, c)} {
		for _, one := range callersOf(t, r, time.Time{}) {
			if one.PathGroup != "api/token" || one.Counts[openimds.CountWithTokenFailed] != 1 || one.Forwarded.Equal(at) != (one.Source == source.String()) || one.Forwarded.IsZero() == (one.Source == source.String()) {
				t.Errorf("%+v", one)
			}
		}
	}
}
