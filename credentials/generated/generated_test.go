package generated_test

import (
	"bytes"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/credentials/generated"
)

var _ openimds.CredentialSource = generated.Source{}

var launched = time.Date(2026, 3, 1, 10, 20, 30, 0, time.UTC)

func instance(id string, key byte) *openimds.Instance {
	return &openimds.Instance{
		ID:         id,
		OwnerID:    "437521954154",
		Region:     "us-east-1",
		LaunchedAt: launched,
		TokenKey:   bytes.Repeat([]byte{key}, openimds.TokenKeySize),
	}
}

func TestGeneratedLooksReal(t *testing.T) {
	in := instance("i-0123456789abcdef0", 7)
	for set := openimds.RoleForV1; set <= openimds.InstanceIdentity; set++ {
		for hour := range 50 {
			now := launched.Add(time.Duration(hour)*time.Hour + 17*time.Second)
			c := generated.Source{}.Credentials(in, set, now)
			for _, form := range []struct{ name, got, want string }{
				{"Code", c.Code, `^Success$`},
				{"Message", c.Message, `^$`},
				{"Type", c.Type, `^AWS-HMAC$`},
				{"AccessKeyID", c.AccessKeyID, `^ASIA[A-Z2-7]{16}$`},
				{"SecretAccessKey", string([]byte(c.SecretAccessKey)), `^[A-Za-z0-9+/]{40}$`},
				{"Token", string([]byte(c.Token)), `^IQoJb3JpZ2luX2Vj[A-Za-z0-9+/]+={0,2}$`},
			} {
				if !regexp.MustCompile(form.want).MatchString(form.got) {
					t.Fatalf("set %d, hour %d: %s = %q, want the form %s", set, hour, form.name, form.got, form.want)
				}
			}
			if n := len(c.Token); n < 700 || n > 1200 {
				t.Fatalf("set %d, hour %d: a token of %d characters, want 700 to 1200", set, hour, n)
			}
			if age := now.Sub(c.LastUpdated); age < 0 || age >= time.Hour {
				t.Fatalf("set %d, hour %d: made %v before now, want less than an hour", set, hour, age)
			}
			if life := c.Expiration.Sub(c.LastUpdated); life < 6*time.Hour+14*time.Minute || life > 6*time.Hour+23*time.Minute {
				t.Fatalf("set %d, hour %d: good for %v, want 6h14m to 6h23m", set, hour, life)
			}
			if c.LastUpdated.Location() != time.UTC || c.LastUpdated.Nanosecond() != 0 {
				t.Fatalf("LastUpdated %v is not whole seconds of UTC", c.LastUpdated)
			}
		}
	}
}

// accountOf reads the account out of the id of an access key, as the tools do that find one.
func accountOf(t *testing.T, keyID string) string {
	t.Helper()
	b, err := base32.StdEncoding.DecodeString(keyID[4:])
	if err != nil || !strings.Contains("QRSTUVWXYZ234567", keyID[4:5]) {
		t.Fatalf("the id %s names no account: %v", keyID, err)
	}
	n := binary.BigEndian.Uint64(append([]byte{0, 0}, b[:6]...))
	return fmt.Sprintf("%012d", n&0x7fffffffff80>>7)
}

func TestGeneratedKeyNamesItsAccount(t *testing.T) {
	accounts := []string{"437521954154", "230858838317", "000029643808", "000000000000", "000000000001", "999999999999", "123456789012"}
	for range 200 {
		accounts = append(accounts, fmt.Sprintf("%012d", rand.Int64N(1e12)))
	}
	for i, account := range accounts {
		in, ids := instance("i-0123456789abcdef0", byte(i)), map[string]bool{}
		in.OwnerID = account
		for set := openimds.RoleForV1; set <= openimds.InstanceIdentity; set++ {
			for hour := range 3 {
				id := generated.Source{}.Credentials(in, set, launched.Add(time.Duration(hour)*time.Hour)).AccessKeyID
				if got := accountOf(t, id); got != account {
					t.Errorf("the key %s names the account %s, not %s", id, got, account)
				}
				if account == "437521954154" && !strings.HasPrefix(id, "ASIAWLXSXGV") {
					t.Errorf("the key %s does not begin as those of the account %s", id, account)
				}
				ids[id] = true
			}
		}
		if len(ids) != 9 {
			t.Errorf("nine sets of %s have the ids %v", account, ids)
		}
	}
	for _, none := range []string{"", "x", "-1", "1099511627776", "99999999999999999999"} {
		in := instance("i-a", 1)
		in.OwnerID = none
		if got := accountOf(t, generated.Source{}.Credentials(in, openimds.RoleForV2, launched).AccessKeyID); got != "000000000000" {
			t.Errorf("a key of the account %q names %s", none, got)
		}
	}
}

// What must give other credentials, and what must not.
func TestGeneratedDiffers(t *testing.T) {
	now := launched.Add(90*time.Minute + 5*time.Second)
	get := func(in *openimds.Instance, set openimds.CredentialSet, now time.Time) openimds.RoleCredentials {
		return generated.Source{}.Credentials(in, set, now)
	}
	base := get(instance("i-a", 1), openimds.RoleForV2, now)
	if again := get(instance("i-a", 1), openimds.RoleForV2, now); !same(base, again) {
		t.Error("the same question had two answers")
	}
	// Until a set is an hour old it stays, to the second.
	last := base.LastUpdated.Add(time.Hour - time.Nanosecond)
	if c := get(instance("i-a", 1), openimds.RoleForV2, last); !same(base, c) {
		t.Error("the set changed within its hour")
	}
	others := map[string]openimds.RoleCredentials{
		"an hour later":  get(instance("i-a", 1), openimds.RoleForV2, base.LastUpdated.Add(time.Hour)),
		"for version 1":  get(instance("i-a", 1), openimds.RoleForV1, now),
		"identity":       get(instance("i-a", 1), openimds.InstanceIdentity, now),
		"another id":     get(instance("i-b", 1), openimds.RoleForV2, now),
		"another life":   get(instance("i-a", 2), openimds.RoleForV2, now),
		"the one before": get(instance("i-a", 1), openimds.RoleForV2, base.LastUpdated.Add(-time.Nanosecond)),
	}
	seen := map[string]string{base.AccessKeyID: "base"}
	for name, c := range others {
		if before, dup := seen[c.AccessKeyID]; dup {
			t.Errorf("%s: same key id as %s", name, before)
		}
		seen[c.AccessKeyID] = name
		if bytes.Equal(c.SecretAccessKey, base.SecretAccessKey) || bytes.Equal(c.Token[100:], base.Token[100:]) {
			t.Errorf("%s: shares secrets with the base", name)
		}
	}
}

func same(a, b openimds.RoleCredentials) bool {
	return a.AccessKeyID == b.AccessKeyID && bytes.Equal(a.SecretAccessKey, b.SecretAccessKey) &&
		bytes.Equal(a.Token, b.Token) && a.LastUpdated.Equal(b.LastUpdated) && a.Expiration.Equal(b.Expiration)
}

func TestGeneratedOffsets(t *testing.T) {
	now := launched.Add(100 * time.Hour)
	offsets := map[int]bool{}
	for i := range 60 {
		c := generated.Source{}.Credentials(instance(fmt.Sprintf("i-%d", i), 9), openimds.RoleForV2, now)
		offsets[c.LastUpdated.Minute()*60+c.LastUpdated.Second()] = true
	}
	if len(offsets) < 50 {
		t.Errorf("60 instances refresh at %d different seconds of the hour", len(offsets))
	}
}

func TestGeneratedFirstSetIsMadeAtLaunch(t *testing.T) {
	in := instance("i-a", 1)
	c := generated.Source{}.Credentials(in, openimds.RoleForV2, launched)
	if !c.LastUpdated.Equal(launched) {
		t.Errorf("LastUpdated = %v, want the launch at %v", c.LastUpdated, launched)
	}
	// A clock behind the launch must not make a set from the future.
	before := launched.Add(-10 * time.Minute)
	if c := (generated.Source{}).Credentials(in, openimds.RoleForV2, before); c.LastUpdated.After(before) {
		t.Errorf("LastUpdated = %v lies after %v", c.LastUpdated, before)
	}
}

// The derivation is a promise: hosts of two releases serve one instance side by side.
func TestGeneratedIsStable(t *testing.T) {
	c := generated.Source{}.Credentials(instance("i-0123456789abcdef0", 7), openimds.RoleForV2, launched.Add(5*time.Hour))
	got := fmt.Sprintf("%s %s %s %s", c.AccessKeyID, []byte(c.SecretAccessKey)[:8], c.LastUpdated.Format(time.RFC3339), c.Expiration.Format(time.RFC3339))
	if want := "ASIAWLXSXGVVLTCEGFYN cz/KUvK7 2026-03-01T15:15:33Z 2026-03-01T21:31:47Z"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSecretsHideThemselves(t *testing.T) {
	c := generated.Source{}.Credentials(instance("i-a", 1), openimds.RoleForV2, launched)
	forms := map[string]bool{} // every form in which a secret might come out
	for _, s := range []openimds.Secret{c.SecretAccessKey, c.Token} {
		b := []byte(s)[20:36]
		for _, verb := range []string{"%s", "%x", "%X", "%d", "%v", "%q", "% x"} {
			forms[strings.Trim(fmt.Sprintf(verb, b), "[]")] = true
		}
	}
	leaks := func(out string) bool {
		for form := range forms {
			if strings.Contains(out, form) {
				return true
			}
		}
		return false
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%U"} {
		for _, v := range []any{c, &c, c.Token, []openimds.RoleCredentials{c}, struct{ C openimds.RoleCredentials }{c}} {
			if out := fmt.Sprintf(verb, v); leaks(out) {
				t.Errorf("%s of %T leaks: %s", verb, v, out)
			}
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if leaks(string(text)) || strings.Contains(string(text), "oken") || strings.Contains(string(text), "ecret") {
		t.Errorf("JSON leaks: %s", text)
	}
	var out bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "c", c, "p", &c, "t", c.Token)
	}
	if leaks(out.String()) {
		t.Errorf("log leaks: %s", out.String())
	}
}

func BenchmarkGenerated(b *testing.B) {
	in := instance("i-0123456789abcdef0", 7)
	b.ReportAllocs()
	for b.Loop() {
		generated.Source{}.Credentials(in, openimds.RoleForV2, launched)
	}
}
