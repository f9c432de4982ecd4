package hostlink

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// replicas are servers that answer as handler does, and a client that knows one more that is not there.
func replicas(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	const gone = "127.0.0.1:1" // which no kernel gives to anybody who asks for some port
	by := s.Client().Transport.(*http.Transport).TLSClientConfig
	c := NewClient(Config{
		TLS:      func() *tls.Config { return by.Clone() },
		Replicas: []string{gone, s.Listener.Addr().String()}, Process: "p", Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(c.Close)
	return c
}

// A replica that is not there is no trouble while another one is; what a replica refuses is the host's to know.
func TestAnyReplica(t *testing.T) {
	var mu sync.Mutex
	answer, status := `{"lease":7}`, http.StatusOK
	say := func(s int, code string) {
		mu.Lock()
		defer mu.Unlock()
		text, err := json.Marshal(ErrorAnswer{Code: code, Message: "no"})
		must(t, err)
		answer, status = string(text), s
	}
	c := replicas(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(status)
		_, _ = w.Write([]byte(answer))
	})
	region := c.Region("us-east-1", true, "")
	if lease, err := region.JoinHost(t.Context(), true); err != nil || lease != 7 {
		t.Errorf("%d, %v", lease, err)
	}
	say(http.StatusConflict, CodeNoLease)
	if err := region.KeepAlive(t.Context(), 7); !errors.Is(err, store.ErrNoLease) {
		t.Errorf("a lease that has ended: %v", err)
	}
	say(http.StatusNotFound, CodeNotServed)
	if err := region.LeaveSeat(t.Context(), "web"); err != nil {
		t.Errorf("a seat that the replica knows nothing of is given back: %v", err)
	}
	if err := region.TakeSeats(t.Context(), 7, "web"); !errors.Is(err, ErrNotServed) {
		t.Errorf("not served: %v", err)
	}
	say(http.StatusServiceUnavailable, CodeAway)
	if err := region.KeepAlive(t.Context(), 7); err == nil || errors.Is(err, store.ErrNoLease) {
		t.Errorf("a replica that cannot do it now: %v", err)
	}
	say(http.StatusForbidden, CodeRefused)
	if err := region.KeepAlive(t.Context(), 7); err == nil || errors.Is(err, ErrEvicted) {
		t.Errorf("refused, as by a certificate that has expired: %v", err)
	}
	select {
	case <-c.Evicted():
		t.Error("who was only refused takes itself for evicted")
	default:
	}
	say(http.StatusForbidden, CodeEvicted)
	if err := region.KeepAlive(t.Context(), 7); !errors.Is(err, ErrEvicted) {
		t.Errorf("evicted: %v", err)
	}
	<-c.Evicted()
}

// What was counted while no replica could be told is told afterwards, with what came later, and nothing is told again
// that a replica has, also not after a start.
func TestCountsAreCarried(t *testing.T) {
	var mu sync.Mutex
	const engineMark = "usage/open/host-a~engine"
	away, tells, takenBack, refuses, through := true, false, false, false, "told none"
	var counting Counting
	got := map[string]string{}
	var last string
	requests := 0
	c := replicas(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if requests++; away {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"code":"Away","message":"no"}`))
			return
		}
		var q CountsRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		var answer CountsAnswer
		for _, record := range q.Records {
			if refuses && record.Key == engineMark {
				answer.Refused = append(answer.Refused, record.Key)
				continue
			}
			got[record.Key], last = string(record.Value), record.Key
		}
		text, err := json.Marshal(answer)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(text)
	})
	kept := mem.New()
	count := func(key, value string) {
		t.Helper()
		_, err := kept.Commit(t.Context(), store.Change{Key: key, Value: []byte(value), If: store.Whatever})
		must(t, err)
	}
	carry := func() {
		t.Helper()
		ended, end := context.WithCancel(t.Context())
		end() // all that is left goes at the end
		counts := NewCounts(Counts{
			Store: kept, Client: c, Host: "host-a", Samples: "usage/300/", Callers: "usage/callers/", Mark: "usage/open/host-a",
			About: func() (About, bool) { return About{Counting: counting}, true }, Tells: tells, Log: slog.New(slog.DiscardHandler),
			EngineMark: engineMark, Untold: func() []byte { return []byte(through) },
		})
		counts.Run(ended, time.Minute)
		if through == "told all" {
			must(t, counts.Told(t.Context()))
		}
		select {
		case <-counts.TakenBack():
			takenBack = true
		default:
			takenBack = false
		}
	}
	count("usage/300/2026-11-26/i-0/host-a", "one")
	count("usage/300/2026-11-26/i-0/host-b", "another host's")
	count("usage/3600/2026-01-01/i-0", "sums of old days")
	count("usage/open/host-a", "its own business")
	carry()
	if len(got) != 0 || requests == 0 {
		t.Fatalf("a replica that is away has %v", got)
	}
	away = false
	count("usage/300/2026-11-26/i-0/host-a", "two")
	count("usage/callers/i-0/host-a", "who")
	carry()
	if len(got) != 2 || got["usage/300/2026-11-26/i-0/host-a"] != "two" || got["usage/callers/i-0/host-a"] != "who" {
		t.Errorf("the replica was told %v", got)
	}
	told := requests
	carry()
	if requests != told {
		t.Error("what a replica has was told again")
	}
	count("usage/300/2026-11-27/i-0/host-a", "three")
	carry()
	if requests != told+1 || !strings.Contains(got["usage/300/2026-11-27/i-0/host-a"], "three") {
		t.Errorf("after %d requests more the replica has %v", requests-told, got)
	}
	// The mark goes to replicas that take it, after all that was stored before it, and its end too.
	const mark = "usage/open/host-a"
	counting.Marks = true
	count("usage/300/2026-11-27/i-0/host-a", "four")
	carry()
	if got["usage/300/2026-11-27/i-0/host-a"] != "four" || got[mark] != "its own business" || last != mark {
		t.Errorf("the replica was told %v, last of %s", got, last)
	}
	drop := func(key string) {
		t.Helper()
		_, err := kept.Commit(t.Context(), store.Change{Verb: store.Delete, Key: key, If: store.Whatever})
		must(t, err)
	}
	drop(mark)
	carry()
	if value, told := got[mark]; !told || value != "" {
		t.Errorf("the replica takes the mark still for %q", value)
	}
	// Replicas that ask an engine are told of callers alone. What they had of samples they keep from a host that does not tell
	// it, and is taken back before one tells it anything.
	has := func(when string, back bool, want map[string]string) {
		t.Helper()
		maps.DeleteFunc(got, func(_, value string) bool { return value == "" })
		if takenBack != back || !maps.Equal(got, want) {
			t.Errorf("%s the replica has %v, taken back: %v", when, got, takenBack)
		}
	}
	const one, later, who = "usage/300/2026-11-26/i-0/host-a", "usage/300/2026-11-27/i-0/host-a", "usage/callers/i-0/host-a"
	count(mark, "begun")
	carry()
	before := maps.Clone(got)
	counting.Installation = "ours"
	count(later, "five")
	carry()
	has("of a host that does not tell the engine", false, before)
	counting.Installation = ""
	carry()
	before[later] = "five"
	has("without the engine again", false, before)
	counting.Installation, tells, away = "ours", true, true
	carry()
	has("while it is away", false, before)
	away = false
	count(who, "who else")
	carry()
	theirs := maps.Clone(before)
	for _, key := range []string{one, later, mark} {
		delete(theirs, key)
	}
	theirs[who] = "who else"
	has("beside the engine", true, theirs)
	count(later, "six")
	carry()
	has("later, beside the engine,", true, theirs)
	tells = false
	carry()
	has("of a host that tells the engine no more", true, theirs)
	counting.Installation = ""
	carry()
	before[later], before[who] = "six", "who else"
	has("without an engine in the end", false, before)
	// Replicas that take marks beside the engine are told how far that has been told, and before they forget samples: of a
	// host that does not tell it too, but none of one that has told all. One that is refused is told again.
	counting.Installation, counting.EngineMarks = "ours", true
	carry()
	before[engineMark] = "told none"
	count(mark, "gone on")
	carry()
	has("of a host that does not tell the engine, but its mark,", false, before)
	tells, refuses, through = true, true, "told some"
	carry()
	has("while marks are refused", false, before)
	refuses = false
	carry()
	theirs[engineMark] = "told some"
	has("with marks, beside the engine", true, theirs)
	refuses, through = true, "told more"
	carry()
	refuses = false
	carry()
	theirs[engineMark] = "told more"
	has("when it has told more", true, theirs)
	through = "told all"
	carry()
	delete(theirs, engineMark)
	has("when it has told all", true, theirs)
}
