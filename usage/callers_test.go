package usage_test

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
)

func callersOf(t *testing.T, r *usage.Meter, since time.Time) []openimds.Caller {
	t.Helper()
	callers, err := r.Callers(context.Background(), id, since)
	if err != nil {
		t.Fatal(err)
	}
	return callers
}

// withoutTimes are callers but for when exactly they came, which has tests of its own.
func withoutTimes(callers []openimds.Caller) []openimds.Caller {
	for i := range callers {
		callers[i].Visits, callers[i].Sittings = nil, nil
	}
	return callers
}

func TestCallers(t *testing.T) {
	c := newClock()
	store := mem.New()
	r := newRecorder(store, c)
	g := r.Guest(id, "web-1")
	other := netip.MustParseAddr("fd00::1")
	count := func(kind usage.Call, source netip.Addr, path, agent string) {
		g.Count(kind, source, []byte(path), []byte(agent), c.now())
		c.forward(time.Second)
	}
	count(usage.TokenIssued, source, "latest/api/token", "aws-cli/2")
	count(usage.WithToken, source, "latest/meta-data/iam/info", "aws-cli/2")
	count(usage.NoToken, other, "latest/user-data", "")
	count(usage.NoTokenMissed, other, "latest/user-data", "")
	count(usage.WithToken, source, "2021-03-23/meta-data/iam/", "aws-cli/2")
	count(usage.NoTokenRejected, netip.Addr{}, "latest/meta-data/iam", "aws-cli/2")
	count(usage.Throttled, source, "", "never seen")
	count(usage.Other, source, "", "never seen")
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	want := []openimds.Caller{
		{Source: "unknown", UserAgent: "aws-cli/2", PathGroup: "meta-data/iam", Counts: map[string]int64{openimds.MetricNoTokenRejected: 1}, CountedSince: at(5), FirstSeen: at(5), LastSeen: at(5), FirstV1: at(5), LastV1: at(5)},
		{Source: "10.0.0.7", UserAgent: "aws-cli/2", PathGroup: "meta-data/iam", Counts: map[string]int64{openimds.MetricWithToken: 2}, CountedSince: at(1), FirstSeen: at(1), LastSeen: at(4)},
		{Source: "fd00::1", PathGroup: "user-data", Counts: map[string]int64{openimds.MetricNoToken: 1, openimds.CountNoTokenFailed: 1}, CountedSince: at(2), FirstSeen: at(2), LastSeen: at(3), FirstV1: at(2), LastV1: at(3)},
		{Source: "10.0.0.7", UserAgent: "aws-cli/2", PathGroup: "api/token", Counts: map[string]int64{openimds.MetricTokenRequests: 1}, CountedSince: at(0), FirstSeen: at(0), LastSeen: at(0)},
	}
	if got := withoutTimes(callersOf(t, r, time.Time{})); !reflect.DeepEqual(got, want) {
		t.Errorf("callers:\n%+v\nwant\n%+v", got, want)
	}
	if got := withoutTimes(callersOf(t, r, at(3))); !reflect.DeepEqual(got, want[:3]) {
		t.Errorf("callers since the fourth second: %+v", got)
	}
	if err := r.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	// A later process knows them and goes on counting.
	r = newRecorder(store, c)
	if got := withoutTimes(callersOf(t, r, time.Time{})); !reflect.DeepEqual(got, want) {
		t.Errorf("stored callers:\n%+v\nwant\n%+v", got, want)
	}
	g = r.Guest(id, "web-1")
	count(usage.NoToken, other, "latest/user-data", "")
	want[2].Counts[openimds.MetricNoToken]++
	want[2].LastSeen, want[2].LastV1 = at(8), at(8)
	want = []openimds.Caller{want[2], want[0], want[1], want[3]}
	for range 2 {
		if got := withoutTimes(callersOf(t, r, time.Time{})); !reflect.DeepEqual(got, want) {
			t.Errorf("callers of the second life:\n%+v\nwant\n%+v", got, want)
		}
		flush(t, r)
	}
	if got, err := r.Callers(context.Background(), "i-unknown", time.Time{}); len(got) != 0 || err != nil {
		t.Errorf("callers of an unknown instance: %v, %v", got, err)
	}
}

// An attacker who never names itself twice fills the table once, hides nobody who was known before,
// and is counted all the same.
func TestCallersAreBounded(t *testing.T) {
	c := newClock()
	store := mem.New()
	r := newRecorder(store, c)
	g := r.Guest(id, "web-1")
	call(g, c, usage.NoToken, 1)
	const attackers, calls = 8, 1000
	var attacking sync.WaitGroup
	for i := range attackers {
		attacking.Go(func() {
			for n := range calls {
				source := netip.AddrFrom4([4]byte{10, 0, byte(i), byte(n)})
				g.Count(usage.NoToken, source, path, fmt.Appendf(nil, "attacker %d %d", i, n), c.now())
				call(g, c, usage.NoToken, 1)
			}
		})
	}
	attacking.Wait()
	for range 2 { // from memory, and from the store
		callers := callersOf(t, r, time.Time{})
		told := int64(len(callers) - 2) // attackers: all but the known caller and the others
		if told < 100 || told > 255 {
			t.Errorf("%d callers are remembered", len(callers))
		}
		var sum, known, others int64
		for _, caller := range callers {
			n := caller.Counts[openimds.MetricNoToken]
			sum += n
			switch {
			case caller.Source == usage.Others:
				others = n
			case caller.UserAgent == string(agent):
				known = n
			}
		}
		if sum != 2*attackers*calls+1 || known != attackers*calls+1 || others != attackers*calls-told {
			t.Errorf("%d calls, %d of them by the known caller, %d by others", sum, known, others)
		}
		if err := r.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		r = newRecorder(store, c)
		g = r.Guest(id, "web-1")
	}
	before := len(callersOf(t, r, time.Time{}))
	// Longer than the attackers' names: what room they leave is not enough for it.
	g.Count(usage.NoToken, source, path, []byte(strings.Repeat("one more ", 12)), c.now())
	if n := len(callersOf(t, r, time.Time{})); n != before {
		t.Errorf("%d callers after a restart, %d before", n, before)
	}
}

func TestUserAgentsAreHarmless(t *testing.T) {
	c := newClock()
	r := newRecorder(mem.New(), c)
	g := r.Guest(id, "web-1")
	long := strings.Repeat("x", 128)
	want := map[string]bool{}
	for raw, shown := range map[string]string{
		"curl/8 (linux)":          "curl/8 (linux)",
		"a\x1b[2J\r\nb\x00\x7f":   `a\x1b[2J\r\nb\x00\x7f`,
		"\xff\xfe":                `\xff\xfe`,
		"\xfe\xff":                `\xfe\xff`, // not the one before
		"a b":                     "a b",
		"a\tb":                    `a\tb`, // not the one before
		"grün 日本":                 "grün 日本",
		"evil\u202etxt.exe\u200b": `evil\u202etxt.exe\u200b`,
		long:                      long,
		long + "y":                long[:125] + "…",
	} {
		g.Count(usage.NoToken, source, path, []byte(raw), c.now())
		want[shown] = true
	}
	g.Count(usage.NoToken, source, path, []byte(long+"z"), c.now()) // the same, as far as it is kept
	got := map[string]bool{}
	for _, caller := range callersOf(t, r, time.Time{}) {
		got[caller.UserAgent] = true
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("shown: %v, want %v", got, want)
	}
}

// Every category that stands in a container of the table belongs to a group that names it.
func TestGroupsFollowTheTable(t *testing.T) {
	c := newClock()
	for _, category := range metadata.Categories() {
		r := newRecorder(mem.New(), c)
		r.Guest(id, "web-1").Count(usage.NoToken, source, []byte("latest/"+category.Path), nil, c.now())
		parts := strings.SplitN(category.Path, "/", 3)
		want := parts[0]
		if len(parts) == 3 {
			want += "/" + parts[1]
		}
		switch want { // containers of one item that is nobody's secret
		case "meta-data/hibernation", "meta-data/metrics":
			want = "meta-data"
		case "dynamic/fws":
			want = "dynamic"
		}
		if got := callersOf(t, r, time.Time{})[0].PathGroup; got != want {
			t.Errorf("%s is of the group %q, want %q", category.Path, got, want)
		}
	}
	for path, want := range map[string]string{
		"": "other", "latest": "other", "latest/": "other", "latest/nothing": "other", "latest/meta-datax/iam": "other",
		"latest/meta-data": "meta-data", "latest/meta-data/iamx/y": "meta-data", "latest/dynamic": "dynamic",
	} {
		r := newRecorder(mem.New(), c)
		r.Guest(id, "web-1").Count(usage.NoToken, source, []byte(path), nil, c.now())
		if got := callersOf(t, r, time.Time{})[0].PathGroup; got != want {
			t.Errorf("%q is of the group %q, want %q", path, got, want)
		}
	}
}

func TestCallersExpire(t *testing.T) {
	c := newClock()
	store := mem.New()
	r := newRecorder(store, c)
	g := r.Guest(id, "web-1")
	for n := range 300 {
		g.Count(usage.NoToken, source, path, fmt.Appendf(nil, "agent %d", n), c.now())
	}
	flush(t, r)
	c.forward(62 * 24 * time.Hour)
	g.Count(usage.NoToken, source, path, []byte("agent 7"), c.now())
	c.forward(2 * 24 * time.Hour)
	if err := r.Prune(context.Background()); err != nil {
		t.Fatal(err)
	}
	g.Count(usage.NoToken, source, path, []byte("new"), c.now())
	flush(t, r)
	for _, reader := range []*usage.Meter{r, newRecorder(store, c)} {
		var agents []string
		for _, caller := range callersOf(t, reader, time.Time{}) {
			agents = append(agents, caller.UserAgent)
		}
		if want := []string{"new", "agent 7"}; !reflect.DeepEqual(agents, want) {
			t.Errorf("after the others expired there are %q, want %q", agents, want)
		}
	}
	c.forward(64 * 24 * time.Hour)
	second := newRecorder(store, c)
	if err := second.Prune(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := callersOf(t, second, time.Time{}); len(got) != 0 {
		t.Errorf("long after: %+v", got)
	}
}
