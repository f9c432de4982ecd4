package control_test

import (
	"bytes"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// FuzzDecodeInstance reads what may stand in a damaged store. What it accepts can be carried out, and
// comes out the same when it is written and read again.
func FuzzDecodeInstance(f *testing.F) {
	good, err := records.EncodeInstance(openimds.NewInstance(openimds.Launch{
		Name: "web", Region: "us-east-1", UserData: []byte("\x00\xff"), Tags: []openimds.Tag{{Key: "a", Value: "b"}},
	}, start))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for _, change := range [][2]string{
		{`"optional"`, `"sometimes"`}, {`"optional"`, `null`}, {`"tokens":`, `"token":`}, {`"hopLimit":1`, `"hopLimit":0`}, {`"hopLimit":1`, `"hopLimit":1e2`},
		{`"schema":1`, `"schema":2`}, {`"state":"applied"`, `"state":""`}, {`"options":{`, `"options":null,"was":{`}, {`"tokenKey":"`, `"tokenKey":"AAAA`},
		{`"tokens":"optional"`, `"tokens":"required","TOKENS":"optional"`}, {`{"schema"`, `[{"schema"`}, {`"nics":[`, `"nics":[null,`},
	} {
		f.Add([]byte(strings.Replace(string(good), change[0], change[1], 1)))
	}
	f.Add([]byte(`{"schema":1,"data":null}`))
	f.Add(good[:len(good)/2])
	f.Fuzz(func(t *testing.T, value []byte) {
		in, err := records.DecodeInstance(store.Record{Key: "instance/web", Value: value})
		if err != nil {
			if in != nil {
				t.Fatalf("an instance beside the error %v", err)
			}
			return
		}
		o := in.Options
		if err := o.Validate(); err != nil || len(in.TokenKey) != openimds.TokenKeySize ||
			o.Tokens != "optional" && o.Tokens != "required" || o.HopLimit < 1 || o.HopLimit > 64 {
			t.Fatalf("accepted %+v with a key of %d bytes: %v", o, len(in.TokenKey), err)
		}
		again, err := records.EncodeInstance(in)
		if err != nil {
			t.Fatal(err)
		}
		back, err := records.DecodeInstance(store.Record{Key: "instance/web", Value: again})
		if err != nil || back.Options != o || !bytes.Equal(back.TokenKey, in.TokenKey) || !bytes.Equal(back.UserData, in.UserData) || back.State != in.State {
			t.Fatalf("%+v came back as %+v, %v", in, back, err)
		}
	})
}

// keyLine is what guests may be given as a public key: three words, and nothing that an
// authorized_keys file would read as an option or a second line.
var keyLine = regexp.MustCompile(`^(ssh-rsa|ssh-ed25519|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+={0,2} key$`)

// FuzzImportKeyPair: whatever text is sent, what is kept is one key in its plainest form, which is
// accepted again and has the same fingerprint.
func FuzzImportKeyPair(f *testing.F) {
	f.Add(ed25519Key)
	f.Add(ed25519Key + " comment\r\n")
	f.Add("c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUFBQkFnTUVCUVlIQ0FrS0N3d05EZzhRRVJJVEZCVVdGeGdaR2hzY0hSNGY=")
	f.Add("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== x")
	f.Add("ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBA==")
	f.Add(`command="x" ` + ed25519Key)
	f.Fuzz(func(t *testing.T, text string) {
		kept := func(text string) *openimds.KeyPair {
			s := control.New(mem.New(), control.Config{Region: "us-east-1", AccountID: "123456789012"})
			if _, err := s.ImportKeyPair(t.Context(), "key", text); err != nil {
				e, ok := errors.AsType[*openimds.Error](err)
				if !ok || e.Kind != openimds.InvalidInput || strings.ContainsAny(e.Message(), "\r\n\x00") || len(e.Message()) > 200 {
					t.Fatalf("refused with %v", err)
				}
				return nil
			}
			pair, err := s.KeyPair(t.Context(), "key")
			if err != nil {
				t.Fatal(err)
			}
			return pair
		}
		pair := kept(text)
		if pair == nil {
			return
		}
		if !keyLine.MatchString(pair.PublicKey) {
			t.Fatalf("kept %q", pair.PublicKey)
		}
		if again := kept(pair.PublicKey); again == nil || again.PublicKey != pair.PublicKey || again.Fingerprint != pair.Fingerprint {
			t.Fatalf("%+v was kept anew as %+v", pair, again)
		}
	})
}

// FuzzValidateName: a name that is accepted is one part of a key, a path, an ARN and a line of a log.
func FuzzValidateName(f *testing.F) {
	for _, name := range []string{"web", "a", "a/b", "a\n", "..", "a-", "-a", "ä", strings.Repeat("x", 256)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
		want := len(name) >= 2 && len(name) <= 255
		for i := range len(name) {
			end := i == 0 || i == len(name)-1
			want = want && (strings.IndexByte(letters, name[i]) >= 0 || !end && strings.IndexByte("-_.", name[i]) >= 0)
		}
		if err := openimds.ValidateName(name); (err == nil) != want {
			t.Fatalf("%q: %v", name, err)
		}
	})
}

// TestLaunchSurvivesStore: an instance comes back from its record as it went in.
func TestLaunchSurvivesStore(t *testing.T) {
	for _, region := range openimds.Regions() {
		for _, addressType := range []string{"dualstack", "ipv4", "ipv6"} {
			in := openimds.NewInstance(openimds.Launch{Name: "web", Region: region.Name, AddressType: addressType}, start)
			value, err := records.EncodeInstance(in)
			if err != nil {
				t.Fatal(err)
			}
			back, err := records.DecodeInstance(store.Record{Key: "instance/web", Value: value})
			if err != nil || !reflect.DeepEqual(back, in) {
				t.Errorf("%s %s:\n%+v\ncame back as\n%+v, %v", region.Name, addressType, in, back, err)
			}
		}
	}
}
