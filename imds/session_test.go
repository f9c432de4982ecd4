package imds

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// A token opens nothing at any other instance, be it a neighbour on the same server.
func TestForeignTokens(t *testing.T) {
	const instances = 64
	s := NewServer(Config{Now: func() time.Time { return noon }})
	wires, tokens := make([]*wire, instances), make([]string, instances)
	for i := range wires {
		in := openimds.NewInstance(openimds.Launch{Name: fmt.Sprint("web-", i), Region: "us-east-1"}, noon)
		wires[i] = serveWire(t, s, in, listenOn(t, "127.0.0.1:0"))
		tokens[i] = wires[i].token(t)
	}
	for i, w := range wires {
		for j, token := range tokens {
			got := w.raw(t, get("/latest/meta-data/instance-id", tokenIs+token))
			if i == j {
				if want := "\r\n\r\n" + w.in.ID; statusOf(got) != "200" || !strings.HasSuffix(got, want) {
					t.Errorf("its own token: %q", got)
				}
			} else if got != unauthorized {
				t.Errorf("the token of %d at %d: %q", j, i, got)
			}
		}
	}
}

// A token outlives the server that made it, for it says all of itself; it does not outlive the
// instance's life.
func TestTokenSurvivesTheServer(t *testing.T) {
	first := newWire(t, func(cfg *Config, in *openimds.Instance) { in.Options.Tokens = openimds.TokensRequired })
	send := get("/latest/meta-data/instance-id", tokenIs+first.token(t))
	for range 3 {
		cfg := Config{Now: func() time.Time { return noon.Add(time.Hour) }}
		next := serveWire(t, NewServer(cfg), first.in, listenOn(t, "127.0.0.1:0"))
		if got := next.raw(t, send); statusOf(got) != "200" || !strings.Contains(got, ttlHeader+"18000\r\n") {
			t.Errorf("after a restart: %q", got)
		}
	}
	again := *first.in
	again.TokenKey = openimds.NewTokenKey() // as a start from stopped does
	if err := first.guest.Set(&again); err != nil {
		t.Fatal(err)
	}
	if got := first.raw(t, send); got != unauthorized {
		t.Errorf("in the next life: %q", got)
	}
}

// Sessions end at a whole second: up to one early, never late.
func TestExpiry(t *testing.T) {
	for _, ttl := range []int{1, 2, 60, 21600} {
		for _, fraction := range []time.Duration{0, 1, 400 * time.Millisecond, time.Second - 1} {
			start := noon.Add(fraction)
			c := &clock{now: start}
			w := newWire(t, func(cfg *Config, _ *openimds.Instance) { cfg.Now = c.read })
			got := w.raw(t, put(tokenPath, ttlIs+fmt.Sprint(ttl)))
			send := get("/latest/meta-data/instance-id", tokenIs+got[len(got)-56:])
			lived := time.Duration(ttl) * time.Second
			for _, at := range []struct {
				after time.Duration
				left  int // 0: refused
			}{{0, ttl}, {lived - fraction - 1, 1}, {lived - fraction, 0}, {lived, 0}, {lived + 7*time.Hour, 0}} {
				c.add(start.Add(at.after).Sub(c.read()))
				got := w.raw(t, send)
				if at.left == 0 && statusOf(got) != "401" || at.left > 0 && !strings.Contains(got, ttlHeader+fmt.Sprint(at.left)+"\r\n") {
					t.Errorf("a session of %d s begun at %v, %v later: %q", ttl, start, at.after, got)
				}
			}
		}
	}
}

// No byte of a token may be changed, left out or written otherwise.
func TestForgedTokens(t *testing.T) {
	w := newWire(t, nil)
	token := w.token(t)
	raw, err := base64.URLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.raw(t, get(amiPath, tokenIs+token)); statusOf(got) != "200" {
		t.Fatalf("the token itself: %q", got)
	}
	forged := map[string]string{
		"cut": token[:55], "longer": token + "A", "no padding": strings.TrimRight(token, "="), "twice": token + token, "quoted": `"` + token + `"`,
		"the other alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(token[:4] + "-_" + token[6:]), "empty base64": strings.Repeat("A", 54) + "==",
		"a blank inside": token[:20] + " " + token[21:], "in lower case": strings.ToLower(token),
		"loose padding bits": token[:53] + string(next(token[53])) + "==",
	}
	for bit := range len(raw) * 8 {
		raw[bit/8] ^= 1 << (bit % 8)
		forged[fmt.Sprint("bit ", bit)] = base64.URLEncoding.EncodeToString(raw)
		raw[bit/8] ^= 1 << (bit % 8)
	}
	for name, token := range forged {
		if got := w.raw(t, get(amiPath, tokenIs+token)); got != unauthorized {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// next is the letter after c in base64's alphabet: of a last letter, it sets a bit of the padding.
func next(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

// Many tokens live side by side.
func TestManyTokens(t *testing.T) {
	w := newWire(t, func(_ *Config, in *openimds.Instance) { in.Options.Tokens = openimds.TokensRequired })
	seen := map[string]bool{}
	for range 500 {
		seen[w.token(t)] = true
	}
	if len(seen) != 500 {
		t.Fatalf("%d of 500 tokens are different", len(seen))
	}
	for token := range seen {
		if got := w.raw(t, get("/latest/meta-data/instance-id", tokenIs+token)); statusOf(got) != "200" {
			t.Errorf("%q", got)
		}
	}
}
