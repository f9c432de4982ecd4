package runner

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/openimds/openimds/handover"
	"github.com/openimds/openimds/sandbox"
)

// However much a command asks for first, IMDSv1 is not lost behind it.
func TestFullReportTellsOfV1(t *testing.T) {
	s := newSightings(true)
	s.command = nobody{}
	close(s.started)
	for i := range maxSightings {
		s.see(handover.Seen{Source: from, Request: handover.Request{Version: "v2", Path: fmt.Sprint("/", i)}})
	}
	s.see(handover.Seen{Source: from, Request: handover.Request{Version: "v2", Path: "/one/more"}})
	s.see(handover.Seen{Source: from, Request: handover.Request{Version: "v1", Path: "/latest"}})
	s.see(handover.Seen{Source: from, Request: handover.Request{Version: "v1", Path: "/1.0"}})
	got := map[string]int{}
	for _, row := range s.all() {
		got[row.Version] += row.Count
	}
	if got["v1"] != 2 || got["v2"] != maxSightings+1 {
		t.Errorf("%v", got)
	}
}

// A report file says that requests may be missing, and nothing where all are there.
func TestReportFileTellsOfHoles(t *testing.T) {
	for _, c := range []struct {
		unknown error
		want    string
	}{
		{nil, "{\n  \"requests\": []\n}\n"},
		{errors.New("the server is gone"), "{\n  \"requests\": [],\n  \"unknown\": \"the server is gone\"\n}\n"},
	} {
		name := filepath.Join(t.TempDir(), "report.json")
		if err := (Ended{Report: Report{}, Unknown: c.unknown}).write(name); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(name)
		if err != nil || string(text) != c.want {
			t.Errorf("%q, %v; want %q", text, err, c.want)
		}
	}
}

var from = netip.MustParseAddrPort("169.254.169.254:40000")

// nobody is behind any connection.
type nobody struct{}

func (nobody) Caller(netip.AddrPort) (sandbox.Process, bool) { return sandbox.Process{}, false }

// oneCaller is behind every connection.
type oneCaller struct{ sandbox.Process }

func (c oneCaller) Caller(netip.AddrPort) (sandbox.Process, bool) { return c.Process, true }

// The process of a request is the one that made its connection, however late the request is seen; of a
// request whose process was not found, and of one whose version is all that is known, there is a row too.
func TestLateSightings(t *testing.T) {
	s := newSightings(true)
	s.command = oneCaller{sandbox.Process{PID: 7, Args: []string{"curl", "AQAEA" + strings.Repeat("x", 49) + "=="}}}
	close(s.started)
	mapped := netip.AddrPortFrom(netip.AddrFrom16(from.Addr().As16()), from.Port())
	s.arrived(mapped)
	s.command = nobody{} // it has ended
	s.see(handover.Seen{Source: from, Request: handover.Request{Version: "v2", Path: "/a"}})
	s.see(handover.Seen{Source: from, Request: handover.Request{Version: "v2", Path: "/b"}}) // of another connection
	s.miss(map[string]int{"v1": 3})
	want := Report{
		{Version: "v1", Path: "(further ones)", Count: 3},
		{Version: "v2", Path: "/b", Count: 1},
		{Version: "v2", Path: "/a", Count: 1, PID: 7, Args: []string{"curl", "[token]"}},
	}
	if got := s.all(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
