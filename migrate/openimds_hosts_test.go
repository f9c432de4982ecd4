package migrate

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// numbers is a server that tells one number after the other of web-1's refused calls, the last one for ever, and who called.
type numbers struct {
	mu      sync.Mutex
	told    []wire.RefusedNumber
	seen    []wire.SeenRefusals
	callers []wire.MetadataCaller
	asked   int // who called
}

func (n *numbers) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch _, target, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); target {
	case "GetCallers":
		n.asked++
		return answerOf(http.StatusOK, wire.GetCallersResult{Callers: n.callers}), nil
	case "WaitForRefusals":
		var q wire.WaitForRefusalsRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			return nil, err
		}
		n.seen = append(n.seen, q.Instances...)
		one := n.told[0]
		if len(n.told) > 1 {
			n.told = n.told[1:]
		}
		one.InstanceName, one.InstanceID = "web-1", "i-1"
		return answerOf(http.StatusOK, wire.WaitForRefusalsResult{Time: awsjson.Epoch{Time: time.Now()}, Instances: []wire.RefusedNumber{one}}), nil
	}
	return answerOf(http.StatusNotFound, struct{}{}), nil
}

func (n *numbers) tell(all ...wire.RefusedNumber) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told, n.asked = all, 0
}

func (n *numbers) whoWasAsked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// A host's count that began anew is another one also where it has come to the same number; what hosts have yet to tell is
// waited for, and until then nothing is known of it; what was told by a host's clock is asked for by that.
func TestCountsOfHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		awaited := wire.RefusedNumber{Unknown: "the host host-a has not told yet", Awaited: true, Hosts: []string{"host-a"}}
		number := func(counter string, n int64) wire.RefusedNumber {
			return wire.RefusedNumber{Refused: new(n), CounterID: counter, UntoldSeconds: 15, HostTime: awsjson.At(time.Now().Add(-4 * time.Second)), Hosts: []string{"host-a"}}
		}
		server, of := &numbers{}, Ref{Region: "us-east-1", Name: "web-1"}
		w := NewOpenIMDS(newClient(t, server)).Watch()
		next := func(what string, refused int, until time.Time) {
			t.Helper()
			got, known, err := w.Next(t.Context())
			if err != nil || len(got) != refused || !known.Equal(until) {
				t.Errorf("%s: %d refusals, known until %s, %v", what, len(got), known, err)
			}
		}
		server.tell(awaited, awaited, number("one", 7))
		begun := time.Now()
		since, err := w.Add(t.Context(), of, time.Time{})
		if err != nil || !since.Equal(begun.Add(-4*time.Second)) {
			t.Fatalf("from %s on: %v", since.Sub(begun), err)
		}
		time.Sleep(time.Minute)
		server.tell(number("one", 7))
		next("nothing new", 0, time.Now().Add(-15*time.Second))
		if n := server.whoWasAsked(); n > 0 {
			t.Errorf("nothing is new, and who called is asked %d times", n)
		}
		if last := server.seen[len(server.seen)-1]; last.CounterID != "one" || *last.Seen != 7 {
			t.Errorf("what was seen is told as %+v", last)
		}
		known := time.Now().Add(-15 * time.Second)
		time.Sleep(10 * time.Second)
		server.tell(awaited)
		next("while it is awaited", 0, known)
		server.callers = []wire.MetadataCaller{{Source: "10.0.0.2", LastWithoutToken: awsjson.At(time.Now()), Counts: map[string]int64{openimds.MetricNoTokenRejected: 7}}}
		server.tell(number("another", 7))
		next("the same number of another count", 1, time.Now().Add(-15*time.Second))
		time.Sleep(2 * silentTime)
		server.tell(awaited)
		if _, _, err := w.Next(t.Context()); err == nil || !strings.Contains(err.Error(), "web-1 (us-east-1): the host host-a has not told yet, so nobody would see") {
			t.Errorf("unknown for long: %v", err)
		}
		old := wire.RefusedNumber{Unknown: "the host host-b is of an earlier release", Hosts: []string{"host-b"}}
		server.tell(old)
		before := time.Now()
		if _, err := w.Add(t.Context(), of, time.Time{}); err == nil || !strings.Contains(err.Error(), "earlier release, so nobody") || time.Since(before) > 0 {
			t.Errorf("a host that does not tell: %v after %s", err, time.Since(before))
		}
	})
}
