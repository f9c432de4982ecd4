package control_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

func TestErrors(t *testing.T) {
	plain := openimds.Errorf(openimds.NotFound, openimds.DoesNotExist, "no %s", "web")
	if plain.Error() != "no web" || openimds.KindOf(plain) != openimds.NotFound || openimds.CodeOf(plain) != openimds.DoesNotExist {
		t.Errorf("%v of kind %d", plain, openimds.KindOf(plain))
	}
	caused := openimds.Errorf(openimds.Unavailable, openimds.StoreAway, "try again").Because(io.ErrUnexpectedEOF)
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

// TestAnotherAPI: a second API tells the same failures in its own words and by its own codes, here EC2's, and no rule
// has to know of it.
func TestAnotherAPI(t *testing.T) {
	words := openimds.Vocabulary{
		Fields: map[openimds.Field]string{openimds.FieldHopLimit: "HttpPutResponseHopLimit", openimds.FieldTokens: "HttpTokens"},
		Types:  map[openimds.ResourceType]string{openimds.TypeInstance: "instance ID", openimds.TypeKeyPair: "key pair"},
		Texts:  map[openimds.Code]string{openimds.DoesNotExist: "The %s '%s' does not exist"},
	}
	absent := map[openimds.ResourceType]string{openimds.TypeInstance: "InvalidInstanceID.NotFound", openimds.TypeKeyPair: "InvalidKeyPair.NotFound"}
	code := func(e *openimds.Error) string {
		switch e.Code {
		case openimds.DoesNotExist:
			of, _ := e.Args[0].(openimds.ResourceType)
			return absent[of]
		case openimds.NameTaken:
			return "InvalidKeyPair.Duplicate"
		case openimds.WrongState:
			return "IncorrectInstanceState"
		case openimds.UnknownValue, openimds.OutOfRange:
			return "InvalidParameterValue"
		case openimds.StoreAway:
			return "ServiceUnavailable"
		default:
			return ""
		}
	}
	f := newFixture(t, nil)
	f.create("web")
	ctx := t.Context()
	of := func(_ any, err error) error { return err }
	if _, err := f.StopInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	closed := newFixture(t, nil)
	_ = closed.store.Close()
	for _, tt := range []struct {
		err        error
		code, told string
	}{
		{of(f.StopInstance(ctx, "absent")), "InvalidInstanceID.NotFound", "The instance ID 'absent' does not exist"},
		{of(f.DeleteKeyPair(ctx, "absent", "")), "InvalidKeyPair.NotFound", "The key pair 'absent' does not exist"},
		{of(f.ImportKeyPair(ctx, openimds.DefaultKeyPairName, ed25519Key)), "InvalidKeyPair.Duplicate", "These names are taken: LightsailDefaultKeyPair"},
		{of(f.UpdateOptions(ctx, "web", openimds.OptionsUpdate{HopLimit: new(65)})), "InvalidParameterValue", "HttpPutResponseHopLimit must be 1 to 64, not 65"},
		{of(f.UpdateOptions(ctx, "web", openimds.OptionsUpdate{Tokens: new(openimds.TokensMode("no"))})), "InvalidParameterValue", `HttpTokens must be optional or required, not "no"`},
		{of(f.UpdateOptions(ctx, "web", openimds.OptionsUpdate{IPv6: new(openimds.EndpointMode("no"))})), "InvalidParameterValue", `The IPv6 endpoint must be enabled or disabled, not "no"`},
		{of(f.RebootInstance(ctx, "web")), "IncorrectInstanceState", "The instance web cannot be rebooted: it is stopped, not running"},
		{of(closed.Instance(ctx, "web")), "ServiceUnavailable", "The store is not available; try again"},
	} {
		e, ok := errors.AsType[*openimds.Error](tt.err)
		if !ok || code(e) != tt.code || e.In(words) != tt.told {
			t.Errorf("%v, want %s: %s", tt.err, tt.code, tt.told)
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
		refused(t, openimds.ValidateName(name), openimds.InvalidInput, openimds.Malformed,
			fmt.Sprintf("%.300s is not a valid resource name. Resource names must be at least 2 characters long and contain only alphanumerics, -, _, and .", name))
	}
}

// TestDamagedRecords: what cannot be read is an error of the service, whose details no client sees,
// and never a default.
func TestDamagedRecords(t *testing.T) {
	for key, read := range map[string]func(*fixture) error{
		"instance/web":             func(f *fixture) error { _, err := f.Instance(f.t.Context(), "web"); return err },
		"keypair/key":              func(f *fixture) error { _, err := f.KeyPair(f.t.Context(), "key"); return err },
		"staticip/ip":              func(f *fixture) error { _, err := f.StaticIP(f.t.Context(), "ip"); return err },
		"alarm/alarm":              func(f *fixture) error { _, err := f.Alarm(f.t.Context(), "alarm"); return err },
		records.OperationKey("id"): func(f *fixture) error { _, err := f.Operation(f.t.Context(), "id"); return err },
	} {
		for _, value := range []string{"", "x", `{"schema":2,"data":{}}`, `{"data":{}}`, `[]`, `{"schema":1}`, `{"schema":1,"data":null}`, `{"schema":1,"data":7}`} {
			f := newFixture(t, nil)
			change := store.Change{Key: key, Value: []byte(value), If: store.Whatever}
			if _, err := f.store.Commit(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			err := read(f)
			refused(t, err, openimds.Internal, openimds.Broken, "Internal error")
			if err != nil && !strings.Contains(err.Error(), key) {
				t.Errorf("the log does not learn which record it is: %v", err)
			}
		}
	}
}
