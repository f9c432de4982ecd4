package imds

import (
	"net/netip"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/usage"
	"golang.org/x/time/rate"
)

// Of refusals that an operator may not want, the log is told: of each kind once a minute for an instance, and
// not more than these of all instances together.
const (
	refusalsEvery  = time.Minute
	refusalsRate   = 1  // lines a second
	refusalsAtOnce = 20 // also how many wait for a log that is stuck

	maxHostTold = 255 // bytes: what a name of DNS can have
)

// unwanted says of these refusals what happens and what helps; the others are what somebody has asked for, or what
// no client sends.
var unwanted = map[usage.Refusal]string{
	usage.RefusedHost: "a guest's request was refused (403): its Host is a DNS name, as of a web page that is bound to this address; " +
		"if it is yours, name it with 'openimds serve --allow-host'",
	usage.RefusedForwarded: "a guest's request was refused (403): it came through a proxy (X-Forwarded-For); " +
		"have its program call the service directly, by NO_PROXY for instance",
	usage.RefusedOrigin:     "a guest's request for a session token was refused (403): it came from a web page (Origin)",
	usage.RefusedRate:       "a guest's request was refused (503): it has sent more than 'openimds serve --guest-rate' lets it",
	usage.ClosedConnections: "a guest's connection was closed: it has as many open as 'openimds serve --guest-connections' lets it",
	usage.ClosedWaiting: "a guest's connection was closed: too many wait, for the rest of a request or for their answer to be taken; " +
		"how many may depends on the descriptors that the process may have (LimitNOFILE)",
	usage.ClosedIPv6:       "a guest's connection was closed: it came over IPv6, which is disabled for the instance (httpProtocolIpv6)",
	usage.ClosedNotRunning: "a guest's connection was closed: its instance does not run",
	usage.ClosedHopLimit:   "a guest's connection was closed: the hop limit of its answer could not be set",
}

// refusalLog remembers when the log was told of refusals. The lock is the guest's own, and held for no more than a few
// assignments.
type refusalLog struct {
	mu   sync.Mutex
	told map[usage.Refusal]*toldOf // nil: of none
}

type toldOf struct {
	at     time.Time
	others int // that came since, without a line
}

// due says whether the log is to be told now, and of how many others it was not told.
func (l *refusalLog) due(why usage.Refusal, now time.Time, allowed func() bool) (others int, due bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.told == nil {
		l.told = map[usage.Refusal]*toldOf{}
	}
	t := l.told[why]
	if t == nil {
		t = &toldOf{}
		l.told[why] = t
	}
	if !t.at.IsZero() && now.Sub(t.at) < refusalsEvery || !allowed() {
		t.others++
		return 0, false
	}
	others = t.others
	t.at, t.others = now, 0
	return others, true
}

// seated is who is at a guest's place, whether or not it runs.
type seated struct {
	name  string
	usage *usage.Tally
}

// refused counts an answer that refuses, and tells the log of it.
func (g *Guest) refused(st *state, why usage.Refusal, w *workspace) {
	st.usage.Refuse(why)
	if why != usage.RefusedHost {
		g.tellRefused(why, st.instance.Name, w.source)
		return
	}
	host := w.request.host
	if hostStatus(host, st.allowHosts) == 0 {
		_, host, _ = splitTarget(w.request.target)
	}
	g.tellRefused(why, st.instance.Name, w.source, "host", printable.Line(string(host[:min(len(host), maxHostTold)])))
}

// notAtHome counts a connection at whose address nobody answers.
func (g *Guest) notAtHome(st *state, w *workspace) {
	if st == nil {
		g.closed(usage.ClosedNotRunning, w.source)
	} else {
		g.closed(usage.ClosedIPv6, w.source)
	}
}

// closed counts a connection that is closed without an answer, and tells the log of it.
func (g *Guest) closed(why usage.Refusal, source netip.AddrPort) {
	who := g.seated.Load()
	if who == nil {
		g.server.cfg.Usage.Refuse(why)
		return
	}
	who.usage.Refuse(why)
	g.tellRefused(why, who.name, source)
}

func (g *Guest) tellRefused(why usage.Refusal, instance string, source netip.AddrPort, more ...any) {
	what, ok := unwanted[why]
	if !ok {
		return
	}
	s := g.server
	now := s.cfg.Now()
	others, due := g.refusals.due(why, now, func() bool { return s.refusals.allows(now) })
	if due {
		s.refusals.tell(func() {
			s.cfg.Log.Warn(what, append([]any{"instance", instance, "caller", source, "others", others}, more...)...)
		})
	}
}

// refusalTeller writes the lines, one after the other: no guest waits for the log.
type refusalTeller struct {
	limit *rate.Limiter

	mu      sync.Mutex
	lines   []func()
	telling bool
}

// allows says whether there may be another line now.
func (t *refusalTeller) allows(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.lines) < refusalsAtOnce && t.limit.AllowN(now, 1)
}

func (t *refusalTeller) tell(line func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
	if !t.telling {
		t.telling = true
		go t.run()
	}
}

// run writes what there is to write.
func (t *refusalTeller) run() {
	for {
		t.mu.Lock()
		if len(t.lines) == 0 {
			t.lines, t.telling = nil, false
			t.mu.Unlock()
			return
		}
		line := t.lines[0]
		t.lines = t.lines[1:]
		t.mu.Unlock()
		line()
	}
}

// seat takes note of who is at the guest's place.
func (g *Guest) seat(in *openimds.Instance, counters *usage.Tally) {
	if in == nil {
		g.seated.Store(nil)
		return
	}
	g.seated.Store(&seated{in.Name, counters})
}

// refusalOf is why what cannot be understood is refused with that status.
func refusalOf(status statusError) usage.Refusal {
	switch status {
	case 431:
		return usage.RefusedTooLarge
	case 501:
		return usage.RefusedEncoding
	case 505:
		return usage.RefusedVersion
	}
	return usage.RefusedMalformed
}
