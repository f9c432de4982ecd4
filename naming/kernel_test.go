package naming

import (
	"net/netip"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/processes"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/trace"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
)

// within are namespaces that are known.
type within uint64

func (w within) has(netns uint64) bool { return uint64(w) == netns }

// What the kernel tells is the call's if it can be no other's.
func TestMatch(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const here, there = 7, 8
	sighting := func(source string, call usage.Call, after time.Duration, in within) unnamed {
		return unnamed{imds.Sighting{Source: netip.MustParseAddrPort(source), Call: call, At: noon.Add(after)}, in}
	}
	told := func(source string, version trace.Version, netns uint64) trace.Call {
		var from netip.AddrPort
		if source != "" {
			from = netip.MustParseAddrPort(source)
		}
		return trace.Call{Time: noon, Source: from, Netns: netns, Version: version, Service: trace.Metadata}
	}
	const source = "10.0.0.1:4000"
	mine := sighting(source, usage.NoToken, time.Millisecond, here)
	for name, c := range map[string]struct {
		open []unnamed
		told trace.Call
		want bool
	}{
		"its own":               {[]unnamed{mine}, told(source, trace.V1, here), true},
		"not all was seen":      {[]unnamed{mine}, told(source, trace.Unknown, here), true},
		"another port":          {[]unnamed{mine}, told("10.0.0.1:4001", trace.V1, here), false},
		"another address":       {[]unnamed{mine}, told("169.254.169.254:4000", trace.V1, here), false},
		"another family":        {[]unnamed{mine}, told("[fd00::1]:4000", trace.V1, here), false},
		"another namespace":     {[]unnamed{mine}, told(source, trace.V1, there), false},
		"no namespace":          {[]unnamed{mine}, told(source, trace.V1, 0), false},
		"no source":             {[]unnamed{mine}, told("", trace.V1, here), false},
		"another version":       {[]unnamed{mine}, told(source, trace.V2, here), false},
		"a token":               {[]unnamed{sighting(source, usage.TokenIssued, 0, here)}, told(source, trace.Token, here), true},
		"much later":            {[]unnamed{sighting(source, usage.NoToken, 3*time.Second, here)}, told(source, trace.V1, here), false},
		"mapped":                {[]unnamed{sighting("[::ffff:10.0.0.1]:4000", usage.NoToken, 0, here)}, told(source, trace.V1, here), true},
		"IPv6":                  {[]unnamed{sighting("[fe80::1%eth0]:4000", usage.NoToken, 0, here)}, told("[fe80::1]:4000", trace.V1, here), true},
		"two of one address":    {[]unnamed{mine, sighting(source, usage.NoToken, 0, there)}, told(source, trace.V1, here), true},
		"two of one namespace":  {[]unnamed{mine, sighting(source, usage.NoToken, 0, here)}, told(source, trace.V1, here), false},
		"another guest's port":  {[]unnamed{mine, sighting("10.0.0.2:4000", usage.NoToken, 0, here)}, told(source, trace.V1, here), true},
		"told apart by version": {[]unnamed{mine, sighting(source, usage.WithToken, 0, here)}, told(source, trace.V1, here), true},
		"nobody":                {nil, told(source, trace.V1, here), false},
	} {
		o := open{patience: usual}
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
	o := open{patience: usual}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 3 * mostOpen {
		o.add(unnamed{imds.Sighting{Source: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(i%100)), At: at.Add(time.Duration(i) * time.Microsecond)}, within(7)})
		n := 0
		for _, list := range o.bySource {
			n += len(list)
		}
		if n > mostOpen || len(o.order) > mostOpen {
			t.Fatalf("%d are open, %d in order", n, len(o.order))
		}
	}
	o.add(unnamed{imds.Sighting{Source: netip.MustParseAddrPort("10.0.0.1:5"), At: at.Add(time.Hour)}, within(7)})
	if len(o.order) != 1 || len(o.bySource) != 1 {
		t.Errorf("%d are open an hour later", len(o.order))
	}
}

// The kernel may tell of a call before the listener does, which is busy with those before: it is named all the same, once.
func TestToldEarly(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	store := mem.New()
	meter := usage.NewMeter(usage.Config{Store: store, History: history.New(history.Config{Store: store}), Now: func() time.Time { return noon }})
	guest := meter.Guest("i-1", "web-1")
	source := netip.MustParseAddrPort("10.0.0.1:4000")
	counted := func() imds.Sighting {
		return imds.Sighting{Who: guest.Count(usage.NoToken, source.Addr(), []byte("latest/meta-data"), []byte("curl/8"), noon), Call: usage.NoToken, Source: source, At: noon}
	}
	n := &Namer{open: open{patience: usual}}
	told := trace.Call{Time: noon, Source: source, Netns: 7, Version: trace.V1, Service: trace.Metadata, Process: processes.Process{Exe: "/usr/bin/curl", Argv: []string{"curl"}}}
	n.told(told)
	n.opened(unnamed{counted(), within(8)}) // another guest's, of the same address
	n.opened(unnamed{counted(), within(7)})
	n.opened(unnamed{counted(), within(7)}) // another call from there
	callers, err := meter.Callers(t.Context(), "i-1", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	named := int64(0)
	for _, c := range callers {
		if c.Process != nil {
			named += c.Counts[openimds.MetricNoToken]
		}
	}
	if named != 1 {
		t.Errorf("%d calls were named, want the one that was told of: %+v", named, callers)
	}
	for i := range 3 * mostEarly {
		n.told(trace.Call{Time: noon.Add(time.Duration(i)), Source: netip.AddrPortFrom(source.Addr(), uint16(i)), Netns: 9, Service: trace.Metadata, Process: told.Process})
		if len(n.open.early) > mostEarly {
			t.Fatalf("%d are kept", len(n.open.early))
		}
	}
}

// However many programs call, what is kept of them is bounded.
func TestManyCallersTakeLittleMemory(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	store := mem.New()
	meter := usage.NewMeter(usage.Config{Store: store, History: history.New(history.Config{Store: store}), Now: func() time.Time { return noon }})
	guest := meter.Guest("i-1", "web-1")
	n := &Namer{open: open{patience: usual}}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 10_000 {
		at := noon.Add(time.Duration(i) * time.Millisecond)
		source := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(1024+i))
		who := guest.Count(usage.NoToken, source.Addr(), []byte("latest/meta-data"), []byte("agent/"+strconv.Itoa(i)), at)
		n.opened(unnamed{imds.Sighting{Who: who, Call: usage.NoToken, Source: source, At: at}, within(7)})
		p := processes.Process{Exe: "/usr/bin/program" + strconv.Itoa(i), User: "user" + strconv.Itoa(i)}
		for k := range 10 {
			p.Argv = append(p.Argv, "argument-"+strconv.Itoa(10*i+k))
		}
		n.told(trace.Call{Time: at, Source: source, Netns: 7, Version: trace.V1, Service: trace.Metadata, Process: p})
		// And one of which no listener tells, as of another server's guest.
		n.told(trace.Call{Time: at, Source: source, Netns: 8, Version: trace.V1, Service: trace.Metadata, Process: p})
	}
	const most = 8 << 20
	if took := int64(heap()) - int64(before); took > most {
		t.Errorf("10,000 callers take %d bytes, want %d at most", took, most)
	} else {
		t.Logf("10,000 callers take %d KiB", took>>10)
	}
	all, err := meter.Callers(t.Context(), "i-1", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var calls int64
	for _, c := range all {
		calls += c.Counts[openimds.MetricNoToken]
	}
	if calls != 10_000 {
		t.Errorf("%d calls are counted, want all", calls)
	}
	runtime.KeepAlive(n)
}
