package sigv4

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/accesskeys"
)

var example = scope{"AKIDEXAMPLE", "20150830", "us-east-1", "iam"}

// TestSigningKey compares with the key that AWS's documentation derives.
func TestSigningKey(t *testing.T) {
	var c keyCache
	const want = "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
	for range 2 { // the second time from the cache
		if got := hex.EncodeToString(c.signingKey(example, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")); got != want {
			t.Fatalf("signing key %s, want %s", got, want)
		}
	}
}

func TestKeyCache(t *testing.T) {
	var c keyCache
	first := c.signingKey(example, "one")
	if got := c.signingKey(example, "one"); &got[0] != &first[0] {
		t.Error("the key was derived anew")
	}
	for _, other := range []scope{
		{"AKIDEXAMPLE", "20150831", "us-east-1", "iam"},
		{"AKIDEXAMPLE", "20150830", "us-east-2", "iam"},
		{"AKIDEXAMPLE", "20150830", "us-east-1", "ec2"},
	} {
		if bytes.Equal(c.signingKey(other, "one"), first) {
			t.Errorf("%v has the key of %v", other, example)
		}
	}
	if bytes.Equal(c.signingKey(example, "two"), first) {
		t.Error("the key outlived its secret")
	}
	if c.drop(example.keyID); len(c.entries) != 0 {
		t.Error("the key outlived its id")
	}
	for i := range 10 * maxKeys {
		s := example
		s.keyID = fmt.Sprint(i)
		c.signingKey(s, "one")
	}
	if len(c.entries) > maxKeys {
		t.Errorf("%d keys in the cache", len(c.entries))
	}
}

// request is signed with whatever secret is given.
func request(t *testing.T, v *Verifier, id, secret, from string) error {
	t.Helper()
	r, err := http.NewRequest("POST", "http://localhost/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = from
	stamp := v.cfg.Now().UTC().Format(stampLayout)
	r.Header.Set("X-Amz-Date", stamp)
	a := &authorization{
		scope: scope{id, stamp[:8], v.cfg.Regions[0], "lightsail"}, signed: []string{"host", "x-amz-date"}, stamp: stamp,
	}
	text, err := a.canonical(r, Path(r), headersOf(r), hexHash(nil))
	if err != nil {
		t.Fatal(err)
	}
	signature := sign(new(keyCache).signingKey(a.scope, secret), a.stringToSign(text))
	r.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s, SignedHeaders=%s, Signature=%s",
		algorithm, id, a.scope, strings.Join(a.signed, ";"), signature))
	_, err = v.Verify(r, "lightsail", nil)
	return err
}

func testVerifier(perSecond float64, now *time.Time) *Verifier {
	return New(Config{
		Regions: []string{"us-east-1"}, WrongPerSecond: perSecond,
		Now: func() time.Time { return *now },
		Keys: func(id string) (accesskeys.Key, bool, error) {
			return accesskeys.Key{ID: id, Secret: "right"}, id == "AKID", nil
		},
	})
}

// TestUnknownKey shows that an unknown key is put through the same work, and that the stand-in's
// secret does not let anybody in.
func TestUnknownKey(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	v := testVerifier(0, &now)
	for _, secret := range []string{"right", "", v.decoy} {
		for _, id := range []string{"AKIDOTHER", ""} {
			if err := request(t, v, id, secret, ""); !errors.Is(err, errUnrecognized) {
				t.Errorf("key %q: %v", id, err)
			}
		}
	}
	if v.keys.entries[""].secret != v.decoy || len(v.keys.entries) != 1 {
		t.Error("no signature was computed for an unknown key, or its id is remembered")
	}
}

func TestWrongSignaturesAreLimited(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	v := testVerifier(10, &now)
	count := func(from string) (full, throttled int) {
		for i := range 1000 {
			id := []string{"AKID", "AKIDOTHER"}[i%2]
			switch err := request(t, v, id, "wrong", from); {
			case errors.Is(err, errThrottled):
				throttled++
			case errors.Is(err, errMismatch), errors.Is(err, errUnrecognized):
				full++
			default:
				t.Fatal(err)
			}
			if err := request(t, v, "AKID", "right", from); err != nil {
				t.Fatalf("the owner of the key is locked out: %v", err)
			}
		}
		return full, throttled
	}
	for _, from := range []string{"192.0.2.1:1", "[2001:db8::1]:1", "@"} {
		if full, throttled := count(from); full != 101 || throttled != 899 {
			t.Errorf("from %s: %d answered in full, %d throttled", from, full, throttled)
		}
	}
	for _, same := range []string{"192.0.2.1:2", "[::ffff:192.0.2.1]:3", "[2001:db8::2]:1"} {
		if err := request(t, v, "AKID", "wrong", same); !errors.Is(err, errThrottled) {
			t.Errorf("%s is not limited with its neighbours: %v", same, err)
		}
	}
	if err := request(t, v, "AKID", "wrong", "192.0.2.2:1"); !errors.Is(err, errMismatch) {
		t.Errorf("another address pays for them: %v", err)
	}
	elsewhere := v.In("eu-west-1")
	if err := request(t, elsewhere, "AKID", "wrong", "192.0.2.1:1"); !errors.Is(err, errThrottled) {
		t.Errorf("in another region there are further tries: %v", err)
	}
	if err := request(t, elsewhere, "AKID", "right", "192.0.2.1:1"); err != nil {
		t.Errorf("in another region the owner of the key is locked out: %v", err)
	}
	now = now.Add(time.Second)
	if err := request(t, v, "AKID", "wrong", "192.0.2.1:1"); !errors.Is(err, errMismatch) {
		t.Errorf("a second later: %v", err)
	}
	for i := range 3 * maxSources {
		v.wrong.allow(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255), now)
	}
	if len(v.wrong.sources) > maxSources {
		t.Errorf("%d addresses are remembered", len(v.wrong.sources))
	}
}
