package session_test

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/session"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func sealer(t testing.TB, fill byte, id string) *session.Sealer {
	t.Helper()
	s, err := session.NewSealer(bytes.Repeat([]byte{fill}, session.KeySize), id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokenShape(t *testing.T) {
	var w session.Scratch
	s := sealer(t, 1, "i-1")
	seen := map[string]bool{}
	for range 1000 {
		token := string(s.Append(nil, 21600, noon, &w))
		if len(token) != session.TokenSize || !strings.HasPrefix(token, "AQAEA") || !strings.HasSuffix(token, "==") {
			t.Fatalf("token %q has not the recorded shape", token)
		}
		if seen[token] {
			t.Fatalf("token %q was given twice", token)
		}
		seen[token] = true
	}
}

func TestLifetime(t *testing.T) {
	var w session.Scratch
	s := sealer(t, 1, "i-1")
	for _, ttl := range []int{session.MinTTL, 60, session.MaxTTL} {
		// Sealed late in a second: the session ends early rather than late.
		sealed := noon.Add(925 * time.Millisecond)
		token := s.Append(nil, ttl, sealed, &w)
		for _, row := range []struct {
			at   time.Time
			left int
		}{
			{sealed, ttl},
			{noon.Add(time.Duration(ttl)*time.Second - time.Millisecond), 1},
			{noon.Add(time.Duration(ttl) * time.Second), 0},
			{noon.Add(time.Duration(ttl+1) * time.Second), 0},
			{noon.AddDate(100, 0, 0), 0},
			{noon.AddDate(-1, 0, 0), session.MaxTTL}, // a clock set back shows no more than the longest session
		} {
			left, err := s.Open(token, row.at, &w)
			if left != row.left || (err == nil) != (row.left > 0) {
				t.Errorf("ttl %d at %v: %d left, %v; want %d", ttl, row.at.Sub(noon), left, err, row.left)
			}
		}
	}
}

func TestBoundToKeyAndInstance(t *testing.T) {
	var w session.Scratch
	token := sealer(t, 1, "i-1").Append(nil, 60, noon, &w)
	for name, other := range map[string]*session.Sealer{
		"another instance with the same key": sealer(t, 1, "i-2"),
		"another life of the instance":       sealer(t, 2, "i-1"),
	} {
		if _, err := other.Open(token, noon, &w); err == nil {
			t.Errorf("the token opens for %s", name)
		}
	}
	if _, err := sealer(t, 1, "i-1").Open(token, noon, &w); err != nil {
		t.Errorf("the token does not open after a restart: %v", err)
	}
}

func TestNoOtherSpelling(t *testing.T) {
	var w session.Scratch
	s := sealer(t, 1, "i-1")
	token := s.Append(nil, 21600, noon, &w)
	refuse := func(what string, forged []byte) {
		t.Helper()
		if _, err := s.Open(forged, noon, &w); err == nil {
			t.Errorf("%s: %q is accepted", what, forged)
		}
	}
	for i := range token {
		for bit := range 8 {
			forged := bytes.Clone(token)
			forged[i] ^= 1 << bit
			refuse("bit flipped", forged)
		}
	}
	for n := range token {
		refuse("cut", token[:n])
		refuse("line feed inserted", append(append(bytes.Clone(token[:n]), '\n'), token[n:session.TokenSize-1]...))
	}
	// The decoder skips line feeds, and working space has what was decoded before: a token's end is not to be taken from there.
	for n := range session.TokenSize {
		if _, err := s.Open(token, noon, &w); err != nil {
			t.Fatal(err)
		}
		refuse("its end is line feeds", append(bytes.Clone(token[:n]), bytes.Repeat([]byte{'\n'}, session.TokenSize-n)...))
	}
	refuse("extended", append(bytes.Clone(token), '='))
	refuse("unpadded", bytes.TrimRight(token, "="))
	// The last character before the padding carries four bits that must be zero.
	for _, c := range []byte("BCDEFGHIJKLMNOPabcdef0123456789-_") {
		forged := bytes.Clone(token)
		if forged[53] == c {
			continue
		}
		forged[53] = c
		refuse("padding bits", forged)
	}
	r := rand.New(rand.NewPCG(1, 2))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for range 100_000 {
		forged := []byte("AQAEA" + strings.Repeat("A", 49) + "==")
		for i := 5; i < 54; i++ {
			forged[i] = alphabet[r.IntN(64)]
		}
		refuse("random", forged)
	}
}

func TestNoAllocation(t *testing.T) {
	var w session.Scratch
	s := sealer(t, 1, "i-1")
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(100, func() {
		token := s.Append(buf, 60, noon, &w)
		if _, err := s.Open(token, noon, &w); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("sealing and opening allocate %v times", n)
	}
}

func FuzzOpen(f *testing.F) {
	s := sealer(f, 1, "i-1")
	var w session.Scratch
	// Every process of the fuzzer seals a token of its own, so an input is what to change of it.
	token := s.Append(nil, 60, noon, &w)
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Add(append(make([]byte, session.TokenSize-3), 1))
	f.Add(bytes.Repeat([]byte("="), session.TokenSize))
	f.Fuzz(func(t *testing.T, change []byte) {
		var w session.Scratch
		changed := bytes.Clone(token)
		for i, c := range change {
			changed[i%len(changed)] ^= c
		}
		for _, forged := range [][]byte{changed, change} {
			_, err := s.Open(forged, noon, &w)
			if opens := err == nil; opens != bytes.Equal(forged, token) {
				t.Errorf("%q opens a session: %t", forged, opens)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	var w session.Scratch
	s := sealer(b, 1, "i-1")
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		s.Append(buf, 60, noon, &w)
	}
}

func BenchmarkOpen(b *testing.B) {
	var w session.Scratch
	s := sealer(b, 1, "i-1")
	token := s.Append(nil, 60, noon, &w)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Open(token, noon, &w); err != nil {
			b.Fatal(err)
		}
	}
}
