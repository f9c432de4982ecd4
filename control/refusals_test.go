package control_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store/mem"
)

// refusing tells one number of all instances, or of none.
type refusing struct {
	n       atomic.Uint64
	unknown atomic.Bool
}

func (r *refusing) RefusedCalls(string) (openimds.RefusedCalls, bool) {
	return openimds.RefusedCalls{Counter: "this", NoToken: int64(r.n.Load())}, !r.unknown.Load()
}

// Whoever waits is told of the next refusal at once, of none when the wait is over, and of what is not known.
func TestWaitForRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counter := &refusing{}
		s := control.New(mem.New(), control.Config{Region: "us-east-1", AccountID: "123456789012", Refusals: counter})
		if _, err := s.EnsureInstance(t.Context(), "demo"); err != nil {
			t.Fatal(err)
		}
		wait := func(ctx context.Context, seen *int64, names ...string) (string, time.Duration) {
			var of []control.SeenRefusals
			for _, name := range names {
				of = append(of, control.SeenRefusals{Name: name, Seen: seen})
			}
			begun := time.Now()
			refused, at, err := s.WaitForRefusals(ctx, of, 3*time.Second)
			if err != nil || at.After(time.Now()) {
				t.Errorf("%v at %s", err, at)
			}
			text := ""
			for _, r := range refused {
				if text += r.Name + "="; r.NoToken != nil {
					text += fmt.Sprint(*r.NoToken)
				}
			}
			return text, time.Since(begun)
		}
		is := func(what, got string, took time.Duration, want string, least, most time.Duration) {
			t.Helper()
			if got != want || took < least || took > most {
				t.Errorf("%s: %q after %s", what, got, took)
			}
		}
		got, took := wait(t.Context(), nil, "demo")
		is("nothing seen yet", got, took, "demo=0", 0, 0)
		got, took = wait(t.Context(), new(int64(0)), "demo")
		is("no news", got, took, "demo=0", 3*time.Second, 3*time.Second)
		time.AfterFunc(time.Second+time.Millisecond, func() { counter.n.Add(2) })
		got, took = wait(t.Context(), new(int64(0)), "demo")
		is("a refusal", got, took, "demo=2", time.Second, 1200*time.Millisecond)
		got, took = wait(t.Context(), new(int64(7)), "demo")
		is("a counter that began anew", got, took, "demo=2", 0, 0)
		got, took = wait(t.Context(), new(int64(2)), "demo", "gone")
		is("one that is gone", got, took, "demo=2", 0, 0)
		counter.unknown.Store(true)
		got, took = wait(t.Context(), nil, "demo")
		is("not served here", got, took, "demo=", 0, 0)
		ctx, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		got, took = wait(ctx, new(int64(2)), "demo")
		is("no longer waited for", got, took, "demo=", time.Second, time.Second)
		_, _, err := s.WaitForRefusals(t.Context(), make([]control.SeenRefusals, 1001), 0)
		if openimds.KindOf(err) != openimds.InvalidInput {
			t.Errorf("too many: %v", err)
		}
	})
}
