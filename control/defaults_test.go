package control_test

import (
	"reflect"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// says makes options of a launch or of the account, as a test writes them; zero: nobody says.
func says(tokens openimds.TokensMode, hopLimit int) (u openimds.OptionsUpdate) {
	if tokens != "" {
		u.Tokens = &tokens
	}
	if hopLimit != 0 {
		u.HopLimit = &hopLimit
	}
	return u
}

// TestLaunchPrecedence: request > account > blueprint, each option by itself.
func TestLaunchPrecedence(t *testing.T) {
	for _, tt := range []struct {
		name             string
		blueprint        string
		account, request openimds.OptionsUpdate
		tokens           openimds.TokensMode
		hopLimit         int
	}{
		{"nobody says", "ubuntu_24_04", says("", 0), says("", 0), "optional", 1},
		{"the blueprint", "amazon_linux_2023", says("", 0), says("", 0), "required", 1},
		{"the account", "ubuntu_24_04", says("required", 3), says("", 0), "required", 3},
		{"the account over the blueprint", "amazon_linux_2023", says("optional", 0), says("", 0), "optional", 1},
		{"the request over both", "amazon_linux_2023", says("required", 2), says("optional", 64), "optional", 64},
		{"each by itself", "amazon_linux_2023", says("", 5), says("optional", 0), "optional", 5},
	} {
		f := newFixture(t, nil)
		if _, err := f.ModifyDefaults(t.Context(), openimds.DefaultsUpdate{Options: tt.account}); err != nil {
			t.Fatal(err)
		}
		l := launch("web")
		l.BlueprintID, l.BundleID, l.Options = tt.blueprint, "", tt.request
		if _, err := f.CreateInstances(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		if got := f.get("web").Options; got.Tokens != tt.tokens || got.HopLimit != tt.hopLimit || got.State != openimds.OptionsApplied || got.Validate() != nil {
			t.Errorf("%s: %+v, want %s and %d", tt.name, got, tt.tokens, tt.hopLimit)
		}
	}
}

func TestDefaults(t *testing.T) {
	f := newFixture(t, nil)
	is := func(want openimds.OptionsUpdate) {
		t.Helper()
		if got, err := f.Defaults(t.Context()); err != nil || !reflect.DeepEqual(got.Options, want) {
			t.Errorf("%+v, %v, want %+v", got.Options, err, want)
		}
	}
	is(openimds.OptionsUpdate{})
	for _, step := range []struct{ change, then openimds.OptionsUpdate }{
		{says("required", 0), says("required", 0)},
		{says("", 7), says("required", 7)},
		{says("required", 7), says("required", 7)}, // which changes nothing
		{says(openimds.NoPreference, 0), says("", 7)},
		{says("", openimds.NoHopLimitPreference), says("", 0)},
	} {
		if now, err := f.ModifyDefaults(t.Context(), openimds.DefaultsUpdate{Options: step.change}); err != nil || !reflect.DeepEqual(now.Options, step.then) {
			t.Errorf("%+v, %v, want %+v", now.Options, err, step.then)
		}
		is(step.then)
	}
	told := f.audit()
	if len(told) != 4 || told[0].What != "ModifyInstanceMetadataDefaults" || told[0].Resource != "defaults/us-east-1" || told[0].Before != nil {
		t.Errorf("the audit was told %+v", told)
	}
	// Half of a change is none.
	f.ModifyDefaults(t.Context(), openimds.DefaultsUpdate{Options: says("optional", 2)})
	for _, bad := range []openimds.OptionsUpdate{
		says("never", 0), says("required", 65), says("required", -2), {Tokens: says("required", 0).Tokens, Endpoint: new(openimds.EndpointMode("on"))},
	} {
		if _, err := f.ModifyDefaults(t.Context(), openimds.DefaultsUpdate{Options: bad}); openimds.KindOf(err) != openimds.InvalidInput {
			t.Errorf("%+v: %v", bad, err)
		}
		is(says("optional", 2))
	}
	l := launch("web")
	l.Options = says("never", 0)
	if _, err := f.CreateInstances(t.Context(), l); openimds.CodeOf(err) != openimds.UnknownValue {
		t.Errorf("a launch with options that there are not: %v", err)
	}
}

// TestDefaultsNotCarriedOut: what a later installation does not have hinders no launch, and is refused by then.
func TestDefaultsNotCarriedOut(t *testing.T) {
	with := newFixture(t, func(c *control.Config, _ *store.Store) { c.AllowIMDSIPv6 = true })
	on := openimds.OptionsUpdate{IPv6: new(openimds.EndpointEnabled)}
	if _, err := with.ModifyDefaults(t.Context(), openimds.DefaultsUpdate{Options: on}); err != nil {
		t.Fatal(err)
	}
	with.create("web-6")
	without := newFixture(t, func(_ *control.Config, s *store.Store) { *s = with.store })
	without.create("web-4")
	if a, b := without.get("web-6").Options.IPv6, without.get("web-4").Options.IPv6; a != openimds.EndpointEnabled || b != openimds.EndpointDisabled {
		t.Errorf("IPv6 is %s, then %s", a, b)
	}
	if _, err := without.ModifyDefaults(t.Context(), openimds.DefaultsUpdate{Options: on}); openimds.CodeOf(err) != openimds.NotEnforced {
		t.Errorf("IPv6 in an installation without: %v", err)
	}
}

// TestFirstInstanceHasDefaults: the instance of a first start is one like others.
func TestFirstInstanceHasDefaults(t *testing.T) {
	f := newFixture(t, nil)
	if _, err := f.ModifyDefaults(t.Context(), openimds.DefaultsUpdate{Options: says("required", 2)}); err != nil {
		t.Fatal(err)
	}
	in, err := f.EnsureInstance(t.Context(), "demo")
	if err != nil || in.Options.Tokens != openimds.TokensRequired || in.Options.HopLimit != 2 {
		t.Errorf("%+v, %v", in, err)
	}
}
