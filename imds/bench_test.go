package imds

import (
	"bytes"
	"strings"
	"testing"

	"github.com/openimds/openimds"
)

// questions are what a guest asks most; allocs is how much each may allocate, the race detector's
// own allocations included.
func questions(token string) []question {
	return []question{
		{"GET-with-token", get("/latest/meta-data/ami-id", "User-Agent: x", tokenIs+token), "200", 3},
		{"GET-without-token", get("/latest/meta-data/ami-id", "User-Agent: x"), "200", 3},
		{"GET-missing", get("/latest/meta-data/no-such-thing", tokenIs+token), "404", 3},
		{"PUT-token", put(tokenPath, ttlIs+"21600"), "200", 3},
	}
}

type question struct {
	name, send, status string
	allocs             float64
}

func TestNoAllocation(t *testing.T) {
	w := newWire(t, nil)
	for _, q := range questions(w.token(t)) {
		space, buf := newWorkspace(), []byte(q.send)
		if n := testing.AllocsPerRun(1000, func() {
			x, complete := w.guest.respond(buf, false, space)
			if !complete || !bytes.HasPrefix(x.out, []byte("HTTP/1.1 "+q.status)) {
				t.Fatalf("%s: %q", q.name, x.out)
			}
		}); n > q.allocs {
			t.Errorf("%s allocates %v times", q.name, n)
		}
	}
}

func BenchmarkRespond(b *testing.B) {
	w := newWire(b, nil)
	for _, q := range questions(w.token(b)) {
		b.Run(q.name, func(b *testing.B) {
			space, buf := newWorkspace(), []byte(q.send)
			b.ReportAllocs()
			for b.Loop() {
				w.guest.respond(buf, false, space)
			}
		})
	}
}

// A listing is the dearest answer: it asks every row whether it has something to show.
func BenchmarkRespondListing(b *testing.B) {
	w := newWire(b, func(_ *Config, in *openimds.Instance) {
		in.UserData = []byte(strings.Repeat("x", openimds.MaxUserData))
	})
	space, buf := newWorkspace(), []byte(get("/latest/meta-data/", tokenIs+w.token(b)))
	b.ReportAllocs()
	for b.Loop() {
		w.guest.respond(buf, false, space)
	}
}
