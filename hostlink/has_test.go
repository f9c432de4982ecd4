package hostlink

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// Whoever comes back says what it has, where that came with tags. It keeps that, also where the replica does not know of
// such, and tells it all.
func TestComesBack(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	earlier := false
	value := func(n int) json.RawMessage {
		return json.RawMessage(`{"schema":1,"data":{"n":` + string(rune('0'+n)) + `}}`)
	}
	tell := []Record{
		{Region: "r", Key: "instance/web", Value: value(1), Tag: "one"}, {Region: "r", Key: "attachment/web", Value: value(2), Tag: "two"},
		{Region: "r", Key: "instance/bare", Value: value(3)}, {Region: "r", Key: "attachment/bare", Value: value(4)},
	}
	c := replicas(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		var q FollowRequest
		must(t, json.NewDecoder(r.Body).Decode(&q))
		text, err := json.Marshal(q.Has)
		must(t, err)
		asked = append(asked, string(text))
		say := func(m any) { must(t, json.NewEncoder(w).Encode(m)) }
		from := len(q.Has) > 0 && !earlier
		say(Message{Hello: &Hello{Version: Version, Host: "host-a", Home: "r", Regions: []string{"r"}, From: from}})
		if from {
			say(Message{Changes: tell[2:]})
		} else {
			say(Message{Changes: tell})
		}
		say(Message{Listed: true})
		must(t, http.NewResponseController(w).Flush())
		mu.Unlock()
		<-r.Context().Done()
		mu.Lock()
	})
	kept := mem.New()
	follow := func() {
		t.Helper()
		copied, err := OpenCopy(t.Context(), kept, "host-a", slog.New(slog.DiscardHandler))
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { copied.Follow(ctx, c) })
		waiting, done := context.WithTimeout(t.Context(), time.Minute)
		defer done()
		must(t, copied.InStep(waiting, 1<<30))
	}
	has := func(want ...string) {
		t.Helper()
		page, err := kept.List(t.Context(), store.Range{})
		must(t, err)
		var got []string
		for _, r := range page.Records {
			if r.Key != aboutKey {
				got = append(got, r.Key+" "+string(r.Value))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("the host has\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	all := []string{
		`attachment/bare {"schema":1,"data":{"n":4}}`, `attachment/web {"tag":"two","schema":1,"data":{"n":2}}`,
		`instance/bare {"schema":1,"data":{"n":3}}`, `instance/web {"tag":"one","schema":1,"data":{"n":1}}`,
	}
	follow()
	has(all...)
	if v, err := records.Decode[map[string]int](store.Record{Value: []byte(all[3][len("instance/web "):])}); err != nil || v["n"] != 1 {
		t.Errorf("a record with a tag is read as %v (%v)", v, err)
	}
	follow()
	has(all...)
	mu.Lock()
	earlier = true
	mu.Unlock()
	follow()
	has(all...)
	tagged := `[{"region":"r","instances":[{"name":"web","record":"one","attachment":"two"}]}]`
	if want := []string{"null", tagged, tagged}; !slices.Equal(asked, want) {
		t.Errorf("the host said that it has %q, not %q", asked, want)
	}
}

// A replica that goes on from what a host has, and lacks a region of that, takes nothing of the region away.
func TestHasWithoutRegion(t *testing.T) {
	kept := mem.New()
	c := openTestCopy(t, kept, "host-a")
	there, here := "eu-west-1", "us-east-1"
	hello := func(from bool, regions ...string) Message {
		return Message{Hello: &Hello{Version: Version, Host: "host-a", Home: here, Regions: regions, From: from}}
	}
	s := stream{copy: c}
	must(t, s.take(t.Context(), hello(false, here, there)))
	for _, region := range []string{here, there} {
		all := life{id: "i-0", attached: time.Unix(1, 0).UTC(), tokens: openimds.TokensRequired}.records(t, "web")
		for i := range all {
			all[i].Region, all[i].Tag = region, "tag"
		}
		must(t, s.take(t.Context(), Message{Changes: all}))
	}
	must(t, s.take(t.Context(), Message{Listed: true}))
	want, err := kept.List(t.Context(), store.Range{})
	must(t, err)
	_, from, err := c.has(t.Context())
	must(t, err)
	if len(from) != 4 {
		t.Fatalf("the host says that it has %v", from)
	}
	s = stream{copy: c, from: from}
	must(t, s.take(t.Context(), hello(true, here)))
	must(t, s.take(t.Context(), Message{Listed: true}))
	got, err := kept.List(t.Context(), store.Range{})
	must(t, err)
	for i, r := range want.Records {
		if r.Key != aboutKey && (i >= len(got.Records) || got.Records[i].Key != r.Key || got.Records[i].Revision != r.Revision) {
			t.Errorf("%s is not what it was: %v", r.Key, got.Records)
		}
	}
}
