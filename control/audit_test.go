package control_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// show writes a member of an audit entry as it goes into a log.
func show(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAudit(t *testing.T) {
	f := newFixture(t, nil)
	ctx := control.WithActor(t.Context(), "AKID (ops)")
	expect := func(who, what string, want ...string) { // "RESOURCE member: before → after, …"
		t.Helper()
		var got []string
		for _, e := range f.audit() {
			if e.Who != who || e.What != what || e.Failure != "" || e.When.Before(start) || e.When.Location().String() != "UTC" {
				t.Errorf("entry %+v, want one of %s by %s", e, what, who)
			}
			var members []string
			names := maps.Clone(e.Before)
			if names == nil {
				names = map[string]any{}
			}
			maps.Copy(names, e.After)
			for _, name := range slices.Sorted(maps.Keys(names)) {
				members = append(members, fmt.Sprintf("%s: %s → %s", name, show(t, e.Before[name]), show(t, e.After[name])))
			}
			got = append(got, strings.TrimSpace(e.Resource+" "+strings.Join(members, ", ")))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s was told as\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	f.create("web")
	if told := f.audit(); len(told) != 1 || told[0].Who != "openimds" || told[0].Resource != "Instance/web" || told[0].Before != nil || len(told[0].After) < 20 {
		t.Errorf("a creation was told as %+v", told)
	}
	op, err := f.UpdateOptions(ctx, "web", openimds.OptionsUpdate{HopLimit: new(2)})
	if err != nil {
		t.Fatal(err)
	}
	options := func(hops int, state string) string {
		return fmt.Sprintf(`{"tokens":"optional","endpoint":"enabled","hopLimit":%d,"ipv6":"disabled","tags":"disabled","state":%q}`, hops, state)
	}
	expect("AKID (ops)", "UpdateInstanceMetadataOptions",
		"Instance/web options: "+options(1, "applied")+" → "+options(2, "pending")+`, optionsOperation: null → "`+op.ID+`"`)
	f.apply("web")
	expect("openimds", "MarkApplied",
		"Instance/web options: "+options(2, "pending")+" → "+options(2, "applied")+`, optionsOperation: "`+op.ID+`" → null`)
	for _, step := range []struct {
		what string
		do   func() error
		want []string
	}{
		{"SetInstance", func() error {
			_, err := f.SetInstance(ctx, "web", control.InstanceUpdate{UserData: new([]byte("hello")), Overlay: map[string]*string{"b": new("v"), "a": nil}})
			return err
		}, []string{`Instance/web overlay: null → ["a","b"], userData: null → "[8 bytes, base64]"`}},
		{"StopInstance", func() error { _, err := f.StopInstance(ctx, "web"); return err }, nil},
		{"StartInstance", func() error { _, err := f.StartInstance(ctx, "web"); return err }, nil},
		{"RebootInstance", func() error { _, err := f.RebootInstance(ctx, "web"); return err }, []string{"Instance/web"}},
		{"TagResource", func() error { _, err := f.TagResource(ctx, "web", "", tags("a", "b")); return err },
			[]string{`Instance/web tags: null → [{"key":"a","value":"b"}]`}},
		{"UntagResource", func() error { _, err := f.UntagResource(ctx, "web", "", []string{"a"}); return err },
			[]string{`Instance/web tags: [{"key":"a","value":"b"}] → null`}},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if step.want != nil {
			expect("AKID (ops)", step.what, step.want...)
		} else if told := f.audit(); len(told) != 1 || told[0].Before["state"] == nil || told[0].After["state"] == nil {
			t.Errorf("%s was told as %+v", step.what, told)
		}
	}
	if _, err := f.AllocateStaticIP(ctx, "ip"); err != nil {
		t.Fatal(err)
	}
	f.audit()
	if _, err := f.AttachStaticIP(ctx, "ip", "web"); err != nil {
		t.Fatal(err)
	}
	if told := f.audit(); len(told) != 2 || told[0].Resource != "StaticIp/ip" || told[1].Resource != "Instance/web" {
		t.Errorf("a change of two resources was told as %+v", told)
	}
	if _, err := f.DeleteInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if told := f.audit(); len(told) != 2 || told[1].After != nil || len(told[1].Before) < 20 {
		t.Errorf("a deletion was told as %+v", told)
	}
}

// TestNoSecretIsTold plants canaries wherever something secret can stand, and looks for them, in
// every spelling, in all that the audit and a log of it hold.
func TestNoSecretIsTold(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	var canaries [][]byte
	plant := func(secret []byte) []byte {
		canaries = append(canaries, bytes.Clone(secret))
		return secret
	}
	l := launch("web")
	l.UserData = plant([]byte("user-data-canary-0123456789"))
	if _, err := f.CreateInstances(ctx, l); err != nil { // makes the default key pair, whose private key is kept
		t.Fatal(err)
	}
	pair, err := f.DefaultKeyPair(ctx)
	if err != nil {
		t.Fatal(err)
	}
	plant(pair.PrivateKey)
	plant(f.get("web").TokenKey)
	overlay := string(plant([]byte("overlay-canary-0123456789")))
	steps := []func() error{
		func() error {
			_, err := f.SetInstance(ctx, "web", control.InstanceUpdate{Overlay: map[string]*string{"a": &overlay}, UserData: new(plant([]byte("another-canary-0123456789")))})
			return err
		},
		func() error { _, err := f.StopInstance(ctx, "web"); return err },
		func() error { _, err := f.StartInstance(ctx, "web"); return err },
		func() error { plant(f.get("web").TokenKey); return nil },
		func() error { _, private, _, err := f.CreateKeyPair(ctx, "key", nil); plant(private); return err },
		func() error { _, err := f.DeleteKeyPair(ctx, pair.Name, pair.Fingerprint); return err },
		func() error { _, err := f.DeleteInstance(ctx, "web"); return err },
	}
	in := f.get("web")
	for _, step := range steps {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	text, structured := slog.New(slog.NewTextHandler(&log, nil)), slog.New(slog.NewJSONHandler(&log, nil))
	told := f.audit()
	for _, e := range told {
		fmt.Fprintf(&log, "%v %+v %#v %s\n", e, e, e, show(t, e))
		text.Info("audit", "entry", e)
		structured.Info("audit", "entry", e)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&log, verb+"\n", in.TokenKey)
		fmt.Fprintf(&log, verb+"\n", struct{ K openimds.Secret }{in.TokenKey})
	}
	text.Info("key", "key", in.TokenKey, "private", pair.PrivateKey)
	structured.Info("key", "key", in.TokenKey, "private", pair.PrivateKey)
	if len(told) < len(steps) || !strings.Contains(log.String(), "[secret]") {
		t.Fatalf("only %d entries were told", len(told))
	}
	for _, canary := range canaries {
		begin := canary[:16]
		if bytes.HasPrefix(canary, []byte("-----BEGIN")) {
			begin = canary[64:96] // all keys begin alike
		}
		for _, spelling := range []string{string(begin), base64.StdEncoding.EncodeToString(begin[:15]), fmt.Sprintf("%x", begin), fmt.Sprintf("%v", []byte(begin)), strings.Trim(show(t, string(begin)), `"`)} {
			if strings.Contains(log.String(), strings.Trim(spelling, "[]")) {
				t.Errorf("a secret is told as %q", spelling)
			}
		}
	}
}

// TestActor: without a name it is the service that acted.
func TestActor(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	f.audit()
	for who, ctx := range map[string]context.Context{
		"openimds": t.Context(), "alice": control.WithActor(t.Context(), "alice"),
		"bob": control.WithActor(control.WithActor(t.Context(), "alice"), "bob"),
	} {
		if _, err := f.RebootInstance(ctx, "web"); err != nil {
			t.Fatal(err)
		}
		if told := f.audit(); len(told) != 1 || told[0].Who != who {
			t.Errorf("%s's doing was told as %+v", who, told)
		}
	}
}
