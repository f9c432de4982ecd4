package hostdoor_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// waitFor has somebody wait for the refused calls of an instance, once.
func (r *replica) waitFor(name string) control.Refused {
	r.t.Helper()
	seen := int64(0)
	refused, _, err := r.services[home].WaitForRefusals(r.t.Context(), []control.SeenRefusals{{Name: name, Seen: &seen}}, 0)
	must(r.t, err)
	if len(refused) != 1 {
		r.t.Fatalf("of %s %+v is told", name, refused)
	}
	return refused[0]
}

// mark is the id of the mark of an instance; empty: it has none.
func (r *replica) mark(name string) string {
	r.t.Helper()
	return markIn(r.t, r.store, name)
}

func markIn(t *testing.T, s store.Store, name string) string {
	t.Helper()
	page, err := s.List(t.Context(), store.Range{Prefix: records.WatchedKey(name)})
	must(t, err)
	for _, r := range page.Records {
		mark, err := records.Decode[records.Watched](r)
		must(t, err)
		return mark.ID
	}
	return ""
}

// tellRefused tells of calls that were refused to the guest of an instance.
func (h *host) tellRefused(in *openimds.Instance, watch string, n int64, set ...func(*hostlink.Refused)) (int, hostlink.CountsAnswer) {
	h.t.Helper()
	one := hostlink.Refused{Region: home, Refused: records.Refused{
		Instance: in.Name, InstanceID: in.ID, Watch: watch, Process: process, At: time.Now().UTC(),
		RefusedCalls: openimds.RefusedCalls{Counter: "a count of " + h.name, NoToken: n, Refusals: []openimds.Refusal{{Reason: "no-token", Status: 401, Count: n}}},
	}}
	for _, s := range set {
		s(&one)
	}
	status, text := h.ask(hostlink.PathCounts, hostlink.CountsRequest{Refused: []hostlink.Refused{one}})
	var answer hostlink.CountsAnswer
	must(h.t, json.Unmarshal([]byte(text), &answer))
	return status, answer
}

// A host is told for which of its own instances somebody waits, while it serves them, and of no other's; what it tells of
// its own is known to whoever waits.
func TestWatchedIsTold(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a, b := r.join("host-a"), r.join("host-b")
	mine := r.create("mine", "")
	r.create("theirs", "")
	r.attach("mine", "host-a", "tap0")
	r.attach("theirs", "host-b", "tap0")
	patiently(t, func() error { return a.region.TakeSeats(t.Context(), a.lease, "mine") })
	patiently(t, func() error { return b.region.TakeSeats(t.Context(), b.lease, "theirs") })
	before, _ := a.copied() // it hears of the mark as it comes
	if c := r.waitFor("mine"); c.NoToken != nil || !c.Awaited || fmt.Sprint(c.Hosts) != "[host-a]" {
		t.Errorf("nothing is told yet, and %+v is known", c)
	}
	r.waitFor("theirs")
	watch := r.mark("mine")
	after, _ := a.copied() // and finds it there
	other, _ := b.copied()
	for what, kept := range map[string]store.Store{"before": before, "after": after} {
		eventually(t, "the host that listened "+what+" has the mark", func() bool { return markIn(t, kept, "mine") == watch })
		if slices.ContainsFunc(keys(t, kept), func(key string) bool { return strings.Contains(key, "theirs") }) {
			t.Errorf("it is told of another's: %q", keys(t, kept))
		}
	}
	if status, answer := a.tellRefused(mine, watch, 7); status != http.StatusOK || !answer.Heard {
		t.Fatalf("%d %+v", status, answer)
	}
	eventually(t, "the number is known", func() bool {
		c := r.waitFor("mine")
		return c.NoToken != nil && *c.NoToken == 7 && c.Refusals[0].Count == 7
	})

	// It moves: the former host is told no more, the new one is; what the former one tells late is known all the same.
	r.attach("mine", "host-b", "tap1")
	eventually(t, "the former host has the mark no more", func() bool { return len(keys(t, before)) == 0 && len(keys(t, after)) == 0 })
	eventually(t, "the new host has it", func() bool { return markIn(t, other, "mine") == watch })
	if status, answer := a.tellRefused(mine, watch, 9); status != http.StatusOK || !answer.Heard {
		t.Errorf("late: %d %+v", status, answer)
	}
	patiently(t, func() error { return a.region.LeaveSeat(t.Context(), "mine") })
	patiently(t, func() error { return b.region.TakeSeats(t.Context(), b.lease, "mine") })
	if c := r.waitFor("mine"); c.NoToken != nil {
		t.Errorf("the new host has told nothing, and %d is known", *c.NoToken)
	}
	b.tellRefused(mine, watch, 1)
	eventually(t, "both are added up", func() bool { c := r.waitFor("mine"); return c.NoToken != nil && *c.NoToken == 10 })
	if put := slices.Concat(r.refusals("host host-a"), r.refusals("host host-b")); len(put) > 0 {
		t.Errorf("refused: %q", put)
	}
}

// A host tells of refused calls of its own instances alone, in the form that hosts count; whatever else it says changes
// nothing, and is put down.
func TestRefusedWall(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a, b := r.join("host-a"), r.join("host-b")
	mine, theirs := r.create("mine", ""), r.create("theirs", "")
	r.attach("mine", "host-a", "tap0")
	r.attach("theirs", "host-b", "tap0")
	patiently(t, func() error { return b.region.TakeSeats(t.Context(), b.lease, "theirs") })
	patiently(t, func() error { return a.region.TakeSeats(t.Context(), a.lease, "mine") })
	r.waitFor("mine")
	r.waitFor("theirs")
	before := r.everything()
	absent := &openimds.Instance{Name: "nobody", ID: "i-0123456789abcdef0"}
	unchanged := func(what string) {
		t.Helper()
		after := r.everything()
		for key := range after {
			if strings.HasPrefix(key, records.RefusedPrefix) || before[key] != after[key] {
				t.Errorf("%s: %s is there: %s", what, key, after[key])
			}
		}
	}
	var answers []string
	for _, in := range []*openimds.Instance{theirs, absent, {Name: "theirs", ID: mine.ID}, {Name: "mine", ID: theirs.ID}} {
		status, answer := a.tellRefused(in, r.mark("theirs"), 7)
		answers = append(answers, fmt.Sprint(status, answer))
		unchanged("of " + in.Name + " " + in.ID)
	}
	if len(slices.Compact(answers)) != 1 {
		t.Errorf("what is another host's is told from what is not there: %q", answers)
	}
	if n := len(r.refusals("host host-a")); n != 4 {
		t.Errorf("put down %d times", n)
	}
	long := strings.Repeat("x", 1000)
	for what, set := range map[string]func(*hostlink.Refused){
		"a name that is none":          func(o *hostlink.Refused) { o.Instance = "../x" },
		"a long id":                    func(o *hostlink.Refused) { o.InstanceID = long },
		"a long watch":                 func(o *hostlink.Refused) { o.Watch = long },
		"a long counter":               func(o *hostlink.Refused) { o.Counter = long },
		"fewer than none":              func(o *hostlink.Refused) { o.NoToken = -1 },
		"a day ahead":                  func(o *hostlink.Refused) { o.At = time.Now().Add(25 * time.Hour) },
		"no time":                      func(o *hostlink.Refused) { o.At = time.Time{} },
		"too many reasons":             func(o *hostlink.Refused) { o.Refusals = slices.Repeat(o.Refusals, 65) },
		"a reason that is a text":      func(o *hostlink.Refused) { o.Refusals[0].Reason = "\x1b[2J" },
		"a reason fewer times":         func(o *hostlink.Refused) { o.Refusals[0].Count = -1 },
		"a status that is none":        func(o *hostlink.Refused) { o.Refusals[0].Status = 1000 },
		"a process that is none":       func(o *hostlink.Refused) { o.Process = "one" },
		"a region that there is not":   func(o *hostlink.Refused) { o.Region = "mars-north-1" },
		"a mark that is there no more": func(o *hostlink.Refused) { o.Watch = "earlier" },
	} {
		status, _ := a.tellRefused(mine, r.mark("mine"), 7, set)
		if want := map[bool]int{true: http.StatusOK, false: http.StatusBadRequest}[strings.Contains(what, "no more")]; status != want {
			t.Errorf("%s is answered with %d", what, status)
		}
		unchanged(what)
	}
	many := hostlink.CountsRequest{Refused: make([]hostlink.Refused, hostlink.MaxRefused+1)}
	if status, _ := a.ask(hostlink.PathCounts, many); status != http.StatusBadRequest {
		t.Errorf("too many at once: %d", status)
	}
	must(t, r.services[home].EvictHost(t.Context(), "host-a"))
	if status, _ := a.tellRefused(mine, r.mark("mine"), 7); status == http.StatusOK {
		t.Errorf("of an evicted host: %d", status)
	}
	if r.everything()[records.RefusedKey("mine", "host-a")] != "" {
		t.Error("what an evicted host tells is kept")
	}
}

// What an agent tells goes with who called, which is there first; a replica of an earlier release, which passes over it, is
// taken for one that has not heard.
func TestRefusedIsToldWithCallers(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	a := r.join("host-a")
	mine := r.create("mine", "")
	r.attach("mine", "host-a", "tap0")
	patiently(t, func() error { return a.region.TakeSeats(t.Context(), a.lease, "mine") })
	r.waitFor("mine")
	told := []records.Refused{{Instance: "mine", InstanceID: mine.ID, Watch: r.mark("mine"), At: time.Now().UTC(), RefusedCalls: openimds.RefusedCalls{Counter: "one", NoToken: 3}}}
	counted := mem.New()
	patiently(t, func() error {
		return a.region.TellRefused(t.Context(), counted, func(string) string { return "usage/callers/none" }, told)
	})
	eventually(t, "the number is known", func() bool { c := r.waitFor("mine"); return c.NoToken != nil && *c.NoToken == 3 })
	r.door.SetHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }))
	if err := a.region.TellRefused(t.Context(), counted, func(string) string { return "none" }, told); err == nil || !strings.Contains(err.Error(), "earlier release") {
		t.Errorf("an earlier replica: %v", err)
	}
}
