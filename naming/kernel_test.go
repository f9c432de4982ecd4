package naming

import (
	"net/netip"
	"testing"
	"time"

	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/trace"
	"github.com/openimds/openimds/usage"
)

// What the kernel tells is the call's if it can be no other's.
func TestMatch(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sighting := func(source string, call usage.Call, after time.Duration) imds.Sighting {
		return imds.Sighting{Source: netip.MustParseAddrPort(source), Call: call, At: noon.Add(after)}
	}
	told := func(port uint16, address string, version trace.Version) trace.Call {
		return trace.Call{Time: noon, Port: port, Address: netip.MustParseAddr(address), Version: version, Service: trace.Metadata}
	}
	const v4, v6 = "169.254.169.254", "fd00:ec2::254"
	mine := sighting("10.0.0.1:4000", usage.NoToken, time.Millisecond)
	for name, c := range map[string]struct {
		open []imds.Sighting
		told trace.Call
		want bool
	}{
		"its own":             {[]imds.Sighting{mine}, told(4000, v4, trace.V1), true},
		"not all was seen":    {[]imds.Sighting{mine}, told(4000, v4, trace.Unknown), true},
		"another port":        {[]imds.Sighting{mine}, told(4001, v4, trace.V1), false},
		"another family":      {[]imds.Sighting{mine}, told(4000, v6, trace.V1), false},
		"another version":     {[]imds.Sighting{mine}, told(4000, v4, trace.V2), false},
		"a token":             {[]imds.Sighting{sighting("10.0.0.1:4000", usage.TokenIssued, 0)}, told(4000, v4, trace.Token), true},
		"much later":          {[]imds.Sighting{sighting("10.0.0.1:4000", usage.NoToken, 3*time.Second)}, told(4000, v4, trace.V1), false},
		"one of two guests":   {[]imds.Sighting{mine, sighting("10.0.0.2:4000", usage.NoToken, 0)}, told(4000, v4, trace.V1), false},
		"told apart by token": {[]imds.Sighting{mine, sighting("10.0.0.2:4000", usage.WithToken, 0)}, told(4000, v4, trace.V1), true},
		"nobody":              {nil, told(4000, v4, trace.V1), false},
	} {
		var o open
		for _, s := range c.open {
			o.add(s)
		}
		found, ok := o.match(c.told)
		if ok != c.want || ok && found != c.open[0] {
			t.Errorf("%s: %v, %+v", name, ok, found)
		}
		if ok && o.take(found) {
			t.Errorf("%s: it is named twice", name)
		}
	}
}

// What nobody tells of is forgotten in time, and there is never more than there may be.
func TestOpenIsBounded(t *testing.T) {
	var o open
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 3 * mostOpen {
		o.add(imds.Sighting{Source: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(i%100)), At: at.Add(time.Duration(i) * time.Microsecond)})
		n := 0
		for _, list := range o.byPort {
			n += len(list)
		}
		if n > mostOpen || len(o.order) > mostOpen {
			t.Fatalf("%d are open, %d in order", n, len(o.order))
		}
	}
	o.add(imds.Sighting{Source: netip.MustParseAddrPort("10.0.0.1:5"), At: at.Add(time.Hour)})
	if len(o.order) != 1 || len(o.byPort) != 1 {
		t.Errorf("%d are open an hour later", len(o.order))
	}
}
