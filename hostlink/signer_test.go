package hostlink

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// A replica that does not come to all that is to be signed is asked for the rest, and only for as long as it comes to more.
func TestSignerAsksForTheRest(t *testing.T) {
	const all = 50
	document := sha256.Sum256([]byte("document"))
	var mu sync.Mutex
	asked := 0
	c := replicas(t, func(w http.ResponseWriter, r *http.Request) {
		var q SignRequest
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		asked++
		a := SignAnswer{Keys: "k", More: true} // it never comes to the last of a request, nor to one at all
		for _, name := range q.Instances {
			if name != "never" && len(a.Signed) < max(len(q.Instances)-1, 1) {
				a.Signed = append(a.Signed, Signed{ID: "id of " + name, Document: document[:], Signature: []byte("s")})
			}
		}
		_ = json.NewEncoder(w).Encode(a)
	})
	s, err := NewSigner(t.Context(), openTestCopy(t, mem.New(), "host-a"), slog.New(slog.DiscardHandler))
	must(t, err)
	for n := range all {
		name := fmt.Sprintf("web-%d", n)
		s.want("id of "+name, wanted{"us-east-1", name, document})
	}
	s.want("id of never", wanted{"us-east-1", "never", document})
	must(t, s.ask(t.Context(), map[string]*Region{"us-east-1": c.Region("us-east-1", true, "")}))
	if missing, n := s.missing(); n != 1 || missing["us-east-1"][0] != "never" {
		t.Errorf("after %d requests not signed are %v", asked, missing)
	}
}

// lagging is a store of which a watch falls behind when it is told to.
type lagging struct {
	store.Store
	behind chan struct{}
}

func (l lagging) Watch(string, int64) store.Watcher { return laggingWatch{l} }

type laggingWatch struct{ of lagging }

func (w laggingWatch) Next(ctx context.Context) ([]store.Record, error) {
	select {
	case <-w.of.behind:
		return nil, store.ErrCompacted
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// An instance that has left while nobody could be told is not asked for any more, and what was signed of it goes.
func TestSignerForgetsWhatLeft(t *testing.T) {
	kept := lagging{mem.New(), make(chan struct{})}
	c := openTestCopy(t, kept, "host-a")
	gone := life{id: "i-00000000000000001", tokens: openimds.TokensOptional}
	stays := life{id: "i-00000000000000002", tokens: openimds.TokensOptional}
	list(t, c, append(gone.records(t, "gone"), stays.records(t, "stays")...))
	s, err := NewSigner(t.Context(), c, slog.New(slog.DiscardHandler))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var following sync.WaitGroup
	about, _ := c.About()
	following.Go(func() { s.follow(ctx, about, "us-east-1") })
	defer following.Wait()
	defer cancel()
	wanted := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Millisecond) {
			missing, all := s.missing()
			if all == n {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("wanted are %v, not %d", missing, n)
			}
		}
	}
	wanted(2)
	document := make([]byte, sha256.Size)
	must(t, s.keep(ctx, keptSigned{Signed{ID: gone.id, Document: document}, "k"}))
	_, err = kept.Commit(ctx, store.Change{Verb: store.Delete, Key: "instance/gone", If: store.Whatever})
	must(t, err)
	kept.behind <- struct{}{}
	wanted(1)
	if _, err := kept.Get(ctx, signedPrefix+gone.id); err == nil {
		t.Error("what was signed of it stays")
	}
}
