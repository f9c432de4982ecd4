package control_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

func TestErrors(t *testing.T) {
	plain := openimds.Errorf(openimds.NotFound, "DoesNotExist", "no %s", "web")
	if plain.Error() != "no web" || openimds.KindOf(plain) != openimds.NotFound || plain.Code != "DoesNotExist" {
		t.Errorf("%v of kind %d", plain, openimds.KindOf(plain))
	}
	caused := &openimds.Error{Kind: openimds.Unavailable, Message: "try again", Err: io.ErrUnexpectedEOF}
	if caused.Error() != "try again: unexpected EOF" || !errors.Is(caused, io.ErrUnexpectedEOF) {
		t.Errorf("%v hides its cause", caused)
	}
	if kind := openimds.KindOf(fmt.Errorf("doing: %w", caused)); kind != openimds.Unavailable {
		t.Errorf("a wrapped error has the kind %d", kind)
	}
	for _, err := range []error{nil, io.EOF} {
		if kind := openimds.KindOf(err); kind != openimds.Internal {
			t.Errorf("%v has the kind %d", err, kind)
		}
	}
}

func TestValidateName(t *testing.T) {
	for _, name := range []string{"ab", "a.b-c_d", "00", "A9", strings.Repeat("x", 255)} {
		if err := openimds.ValidateName(name); err != nil {
			t.Errorf("%.20q: %v", name, err)
		}
	}
	for _, name := range []string{"", "a", "-a", "a-", ".a", "a.", "_a", "a_", "a b", "a/b", "a\n", "\nab", "ab\x00", "äb", "a\xffb", "..", strings.Repeat("x", 256)} {
		refused(t, openimds.ValidateName(name), openimds.InvalidInput, "",
			fmt.Sprintf("%.300s is not a valid resource name. Resource names must be at least 2 characters long and contain only alphanumerics, -, _, and .", name))
	}
}

// TestDamagedRecords: what cannot be read is an error of the service, whose details no client sees,
// and never a default.
func TestDamagedRecords(t *testing.T) {
	for key, read := range map[string]func(*fixture) error{
		"instance/web": func(f *fixture) error { _, err := f.Instance(f.t.Context(), "web"); return err },
		"keypair/key":  func(f *fixture) error { _, err := f.KeyPair(f.t.Context(), "key"); return err },
		"staticip/ip":  func(f *fixture) error { _, err := f.StaticIP(f.t.Context(), "ip"); return err },
		"alarm/alarm":  func(f *fixture) error { _, err := f.Alarm(f.t.Context(), "alarm"); return err },
		"operation/id": func(f *fixture) error { _, err := f.Operation(f.t.Context(), "id"); return err },
	} {
		for _, value := range []string{"", "x", `{"schema":2,"data":{}}`, `{"data":{}}`, `[]`, `{"schema":1}`, `{"schema":1,"data":null}`, `{"schema":1,"data":7}`} {
			f := newFixture(t, nil)
			change := store.Change{Key: key, Value: []byte(value), If: store.Whatever}
			if _, err := f.store.Commit(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			err := read(f)
			refused(t, err, openimds.Internal, "", "Internal error")
			if err != nil && !strings.Contains(err.Error(), key) {
				t.Errorf("the log does not learn which record it is: %v", err)
			}
		}
	}
}
