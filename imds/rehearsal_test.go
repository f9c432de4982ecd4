package imds

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// rehearse makes the guest see the instance with these tokens and this rehearsal.
func (w *wire) rehearse(t testing.TB, tokens openimds.TokensMode, r *openimds.Rehearsal) {
	t.Helper()
	in := *w.in
	in.Options.Tokens, in.Rehearsal = tokens, r
	if err := w.guest.Set(&in); err != nil {
		t.Fatal(err)
	}
}

func shadow() *openimds.Rehearsal {
	return &openimds.Rehearsal{Mode: openimds.RehearseShadow, Since: noon, Until: noon.Add(time.Hour)}
}

func brownOut(share float64) *openimds.Rehearsal {
	return &openimds.Rehearsal{Mode: openimds.RehearseBrownOut, Share: share, Since: noon, Until: noon.Add(time.Hour)}
}

// rehearsable are requests of every kind, with {TOKEN} for a good token.
func rehearsable() []string {
	var all []string
	for _, path := range []string{amiPath, "/", "/latest/", "/latest/meta-data/no-such", "/latest/user-data", tokenPath, "/latest/meta-data/iam/info", "/2021-03-23/meta-data//placement/./region?x", "//latest/meta-data/", "/%zz", "/latest/../.."} {
		for _, header := range []string{"", tokenIs, tokenIs + "bad", tokenIs + "{TOKEN}", tokenIs + "{TOKEN}\r\n" + tokenIs + "{TOKEN}", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 1.2.3.4\r\n" + tokenIs + "{TOKEN}", "Expect: 100-continue", ttlIs + "60"} {
			for _, method := range []string{"GET", "HEAD", "PUT", "OPTIONS", "POST", "DELETE"} {
				var headers []string
				if header != "" {
					headers = []string{header}
				}
				all = append(all, method+get(path, headers...)[3:])
			}
		}
		all = append(all, strings.Replace(get(path), "Host: ", "Host: x.", 1))
	}
	return append(all, "GET /\r\n\r\n", "broken\r\n\r\n", "GET / HTTP/1.0\r\n\r\n")
}

// What a shadow counts are just the requests that requiring tokens would refuse, of every kind of request; it
// changes no answer. A brown-out of all answers as if tokens were required. Neither counts where they are.
func TestRehearsalIsExact(t *testing.T) {
	w, recorder := newCounted(t, nil)
	rejected := func() float64 { return counted(t, recorder, w.in)[openimds.MetricNoTokenRejected] }
	would := func() float64 { return counted(t, recorder, w.in)[openimds.MetricWouldBeRefused] }
	token := w.token(t)
	hits := 0
	for _, send := range rehearsable() {
		send = strings.ReplaceAll(send, "{TOKEN}", token)
		ask := func(tokens openimds.TokensMode, r *openimds.Rehearsal) string {
			w.rehearse(t, tokens, r)
			return withoutToken(w.raw(t, send))
		}
		optional, required := ask(openimds.TokensOptional, nil), ask(openimds.TokensRequired, nil)
		want := 0.0
		if optional != required {
			want = 1
			hits++
		}
		before := would()
		if got := ask(openimds.TokensOptional, shadow()); got != optional || would()-before != want {
			t.Errorf("%q in a shadow: %q, counted %v, want %q, %v", send, got, would()-before, optional, want)
		}
		before, refusals := would(), rejected()
		if got := ask(openimds.TokensOptional, brownOut(1)); got != required || would() != before || rejected()-refusals != want {
			t.Errorf("%q in a brown-out: %q, %v refused, %v counted, want %q", send, got, rejected()-refusals, would()-before, required)
		}
		if got := ask(openimds.TokensRequired, shadow()); got != required || would() != before {
			t.Errorf("%q in a shadow where tokens are required: %q, want %q", send, got, required)
		}
	}
	if hits < 20 {
		t.Errorf("only %d of the requests show a difference", hits)
	}
	callers, err := recorder.Callers(context.Background(), w.in.ID, noon)
	sum := int64(0)
	for _, c := range callers {
		sum += c.Counts[openimds.MetricWouldBeRefused]
	}
	if err != nil || float64(sum) != would() {
		t.Errorf("the callers have %d of %v, %v", sum, would(), err)
	}
}

// withoutToken is an answer without the token in it, which is another one each time.
func withoutToken(answer string) string {
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	if len(body) == 56 && strings.HasPrefix(head, "HTTP/1.1 200") && strings.Contains(head, "Token-Ttl-Seconds") {
		body = "token"
	}
	return head + "\r\n\r\n" + body
}

// A brown-out of a share refuses that share of the calls without a token, and counts the others. Those with a
// token do not move its row, and another change of the instance does not begin it anew.
func TestBrownOutShare(t *testing.T) {
	w, recorder := newCounted(t, nil)
	r := brownOut(0.1)
	withToken := get(amiPath, tokenIs+w.token(t))
	refused := 0
	for n := range 200 {
		if n%50 == 0 {
			w.rehearse(t, openimds.TokensOptional, r)
		}
		if got := statusOf(w.raw(t, withToken)); got != "200" {
			t.Fatalf("a call with a token gets %s", got)
		}
		switch got := statusOf(w.raw(t, get(amiPath))); got {
		case "401":
			refused++
		case "200":
		default:
			t.Fatalf("a call without a token gets %s", got)
		}
	}
	n := counted(t, recorder, w.in)
	if refused < 18 || refused > 22 || n[openimds.MetricNoTokenRejected] != float64(refused) || n[openimds.MetricWouldBeRefused] != float64(200-refused) {
		t.Errorf("%d of 200 refused, counted %v", refused, n)
	}
}

// A rehearsal ends at its time by itself, whoever is away, and stays ended though the clock is turned back.
func TestRehearsalEnds(t *testing.T) {
	for _, tt := range []struct {
		what  string
		r     openimds.Rehearsal // with Since and Until
		at    []time.Duration    // after noon, one after the other
		under []bool
	}{
		{"in time", openimds.Rehearsal{Since: noon, Until: noon.Add(time.Hour)},
			[]time.Duration{0, time.Hour - 1, time.Hour, 2 * time.Hour}, []bool{true, true, false, false}},
		{"learned of late", openimds.Rehearsal{Since: noon.Add(-50 * time.Minute), Until: noon.Add(10 * time.Minute)},
			[]time.Duration{0, 10*time.Minute - 1, 10 * time.Minute}, []bool{true, true, false}},
		{"over before it is learned of", openimds.Rehearsal{Since: noon.Add(-time.Hour), Until: noon}, []time.Duration{0, -time.Minute}, []bool{false, false}},
		{"stopped", openimds.Rehearsal{Since: noon, Until: noon.Add(time.Hour), Ended: noon}, []time.Duration{0}, []bool{false}},
		{"with a clock that was turned back when it is learned of", openimds.Rehearsal{Since: noon.Add(5 * time.Hour), Until: noon.Add(6 * time.Hour)},
			[]time.Duration{0, time.Hour - 1, 4*time.Hour + 58*time.Minute}, []bool{false, false, false}},
		{"with a clock that is a little behind when it is learned of", openimds.Rehearsal{Since: noon.Add(30 * time.Second), Until: noon.Add(time.Hour + 30*time.Second)},
			[]time.Duration{0, time.Hour - 1, time.Hour}, []bool{true, true, false}},
		{"with a clock that is turned back after its end", openimds.Rehearsal{Since: noon, Until: noon.Add(time.Hour)},
			[]time.Duration{time.Hour, 30 * time.Minute}, []bool{false, false}},
	} {
		var clock atomic.Int64 // after noon
		w, _ := newCounted(t, func(c *Config, _ *openimds.Instance) {
			c.Now = func() time.Time { return noon.Add(time.Duration(clock.Load())) }
		})
		tt.r.Mode, tt.r.Share = openimds.RehearseBrownOut, 1
		w.rehearse(t, openimds.TokensOptional, &tt.r)
		for i, at := range tt.at {
			clock.Store(int64(at))
			want := "200"
			if tt.under[i] {
				want = "401"
			}
			if got := statusOf(w.raw(t, get(amiPath))); got != want {
				t.Errorf("%s: after %v a call without a token gets %s, want %s", tt.what, at, got, want)
			}
			w.rehearse(t, openimds.TokensOptional, &tt.r) // another change
		}
	}
}

// The clock on the wall may be turned while a rehearsal is under way: the first of both clocks ends it.
func TestRehearsalGoesByBothClocks(t *testing.T) {
	began := time.Now() // with the clock that nobody turns
	r := newRehearsal(&openimds.Rehearsal{Mode: openimds.RehearseBrownOut, Share: 1, Since: began, Until: began.Add(time.Hour)}, nil, began)
	turnedBack := &rehearsal{Rehearsal: r.Rehearsal, end: r.end}
	turnedBack.Until = r.Until.Add(5 * time.Hour) // as seen by the wall's clock then
	turnedOn := &rehearsal{Rehearsal: r.Rehearsal, end: r.end}
	turnedOn.Until = began.Add(-time.Hour)
	if !turnedBack.underWay(began.Add(time.Hour-1)) || turnedBack.underWay(began.Add(time.Hour)) {
		t.Error("a clock that is turned back changes how long it lasts")
	}
	if turnedOn.underWay(began) {
		t.Error("a clock that is turned on, or a machine that slept, does not end it")
	}
}

// A rehearsal never lets pass what the options refuse, and what cannot be carried out is no rehearsal.
func TestRehearsalOnlyRestricts(t *testing.T) {
	w, _ := newCounted(t, nil)
	for _, r := range []*openimds.Rehearsal{shadow(), brownOut(0.001)} {
		w.rehearse(t, openimds.TokensRequired, r)
		for range 100 {
			if got := statusOf(w.raw(t, get(amiPath))); got != "401" {
				t.Fatalf("%v: a call without a token gets %s where one is required", r, got)
			}
		}
	}
	in := *w.in
	in.Rehearsal = &openimds.Rehearsal{Mode: "x", Since: noon, Until: noon.Add(time.Hour)}
	if err := w.guest.Set(&in); err == nil {
		t.Error("an unknown mode is accepted")
	}
	if got := statusOf(w.raw(t, get(amiPath))); got != "401" {
		t.Errorf("after a change that failed a call without a token gets %s", got)
	}
}

func BenchmarkRespondRehearsal(b *testing.B) {
	for name, r := range map[string]*openimds.Rehearsal{"none": nil, "shadow": shadow()} {
		b.Run(name, func(b *testing.B) {
			w := newWire(b, nil)
			w.rehearse(b, openimds.TokensOptional, r)
			space, buf := newWorkspace(), []byte(get(amiPath, "User-Agent: x"))
			b.ReportAllocs()
			for b.Loop() {
				w.guest.respond(buf, false, space)
			}
		})
	}
}
