package hostnet_test

import (
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds/hostnet"
)

func TestValidate(t *testing.T) {
	source := func(s ...string) (out []netip.Prefix) {
		for _, p := range s {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for _, test := range []struct {
		endpoint hostnet.Endpoint
		fault    string // empty: it is right
	}{
		{hostnet.Endpoint{ID: "a", Interface: "tap0"}, ""},
		{hostnet.Endpoint{ID: "a", Interface: "tap0", Sources: source("10.0.0.7/32", "fd01::/64")}, ""},
		{hostnet.Endpoint{ID: "a", Netns: "web"}, ""},
		{hostnet.Endpoint{ID: "a", Netns: "/run/netns/web"}, ""},
		{hostnet.Endpoint{ID: "a", PID: 1}, ""},
		{hostnet.Endpoint{Interface: "tap0"}, "no ID"},
		{hostnet.Endpoint{ID: "a"}, "give one of"},
		{hostnet.Endpoint{ID: "a", Interface: "tap0", Netns: "web"}, "give one of"},
		{hostnet.Endpoint{ID: "a", Interface: "tap0", PID: 7}, "give one of"},
		{hostnet.Endpoint{ID: "a", PID: -1}, "not a process"},
		{hostnet.Endpoint{ID: "a", Interface: "lo"}, "the host's own traffic"},
		{hostnet.Endpoint{ID: "a", Interface: "a-name-that-is-too-long"}, "cannot be the name"},
		{hostnet.Endpoint{ID: "a", Interface: "../lo"}, "cannot be the name"},
		{hostnet.Endpoint{ID: "a", Netns: ".."}, "cannot be the name"},
		{hostnet.Endpoint{ID: "a", Netns: "web", Sources: source("10.0.0.7/32")}, "a namespace has one caller"},
		{hostnet.Endpoint{ID: "a", Interface: "br0", Sources: source("10.0.0.0/8", "10.1.0.0/16")}, "overlaps"},
		{hostnet.Endpoint{ID: "a", Interface: "br0", Sources: []netip.Prefix{{}}}, "not an address"},
		{hostnet.Endpoint{ID: "a", Interface: "tap0", MAC: "52:54:00:00:00:01", Alias: "web"}, ""},
		{hostnet.Endpoint{ID: "a", Interface: "tap0", MAC: "52-54-00-00-00-01"}, "not a MAC address"},
		{hostnet.Endpoint{ID: "a", Interface: "tap0", MAC: "52:54:00:00:00:01", ByName: true}, "known by nothing else"},
		{hostnet.Endpoint{ID: "a", Netns: "web", Alias: "web"}, "marks of an interface"},
		{hostnet.Endpoint{ID: "a", PID: 1, ByName: true}, "known by nothing else"},
		{hostnet.Endpoint{ID: "a", Interface: "br0", Sources: source("::ffff:10.0.0.7/128")}, "not an address"},
	} {
		err := test.endpoint.Validate()
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%+v: %v, want %q", test.endpoint, err, test.fault)
		}
	}
}

// TestFields fails when an endpoint gets a field, until somebody has seen to it: a field of the place
// belongs to samePlace, any other to what Set changes live.
func TestFields(t *testing.T) {
	want := []string{"ID", "Interface", "Sources", "MAC", "Alias", "Netns", "PID", "Bound", "Learned", "ByName", "IPv6", "Once"}
	var got []string
	for f := range reflect.TypeFor[hostnet.Endpoint]().Fields() {
		got = append(got, f.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the fields of Endpoint are %v, want %v", got, want)
	}
}

func TestConfig(t *testing.T) {
	serve := func(string, *hostnet.Listener) func() { return func() {} }
	for fault, cfg := range map[string]hostnet.Config{
		"Serve is missing": {},
		"low 24 bits":      {Serve: serve, Mark: 0x69000001},
		"needs Linux":      {Serve: serve},
	} {
		if fault == "needs Linux" && runtime.GOOS == "linux" {
			continue
		}
		if _, err := hostnet.New(cfg); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("New: %v, want %q", err, fault)
		}
	}
}
