package runner

import (
	"fmt"
	"net/netip"
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

var from = netip.MustParseAddrPort("169.254.169.254:40000")

// nobody is behind any connection.
type nobody struct{}

func (nobody) Caller(netip.AddrPort) (sandbox.Process, bool) { return sandbox.Process{}, false }
