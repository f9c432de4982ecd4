package refusals

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
)

// Count is what is known of the refused calls of an instance, at all hosts that serve it.
type Count struct {
	// InstanceID is that of the instance; empty: there is none.
	InstanceID string
	// NoToken is how many calls were refused for want of a token; nil: it is not known, and Unknown says why.
	NoToken *int64
	Unknown string
	// Awaited says that it is to be known in a moment: a host that tells has not told yet.
	Awaited bool
	// Counter is the id of what counted: with another one, that the number is the same says nothing.
	Counter string
	// At is the earliest moment at which a part of the number was read, by the clock of the host that did; zero: now,
	// here.
	At time.Time
	// Untold is for how long before now a host that is gone without a word may have refused calls that are not among them.
	Untold time.Duration
	// Refusals are all refusals, by reason, as far as hosts have told.
	Refusals []openimds.Refusal
	// Hosts are those that serve the instance or are to, in the order of their names.
	Hosts []string
	// Local says that this process serves the instance too.
	Local bool
}

// sum adds up what hosts have told.
type sum struct {
	noToken  int64
	counters []string
	reasons  map[openimds.Refusal]int64
}

func (s *sum) add(calls openimds.RefusedCalls) {
	s.noToken += calls.NoToken
	s.counters = append(s.counters, calls.Counter)
	for _, r := range calls.Refusals {
		s.reasons[openimds.Refusal{Reason: r.Reason, Status: r.Status}] += r.Count
	}
}

// counter is the id of all that counted.
func (s *sum) counter() string {
	slices.Sort(s.counters)
	id := sha256.Sum256([]byte(strings.Join(s.counters, " ")))
	return hex.EncodeToString(id[:8])
}

// refusals are all reasons, those without an answer last.
func (s *sum) refusals() (all []openimds.Refusal) {
	for of, n := range s.reasons {
		of.Count = n
		all = append(all, of)
	}
	slices.SortFunc(all, func(a, b openimds.Refusal) int {
		return cmp.Or(cmp.Compare(uint(a.Status)-1, uint(b.Status)-1), strings.Compare(a.Reason, b.Reason))
	})
	return all
}

// count puts together what the hosts have told. w.mu is held.
func (w *Watch) count(s *state) Count {
	c := Count{InstanceID: s.id}
	if s.id == "" {
		return c
	}
	all := sum{reasons: map[openimds.Refusal]int64{}}
	own, here := w.own(s)
	if c.Local = here; here {
		all.add(own)
	}
	for host, told := range s.told { // also of those that serve it no more: what they refused before comes late
		if host == w.cfg.Host && here {
			continue
		}
		all.add(told.RefusedCalls)
		if c.At.IsZero() || told.At.Before(c.At) {
			c.At = told.At
		}
	}
	w.judge(s, here, &c)
	if c.Unknown == "" {
		c.NoToken, c.Awaited = &all.noToken, false
	}
	c.Counter, c.Refusals = all.counter(), all.refusals()
	return c
}

// judge says whether all who serve the instance have told, and if not, why.
func (w *Watch) judge(s *state, here bool, c *Count) {
	c.Hosts = slices.Sorted(maps.Keys(s.hosts()))
	c.Awaited = true
	for _, host := range c.Hosts {
		if host == w.cfg.Host && here {
			continue
		}
		c.Untold = w.cfg.HostTTL
		if s.hasTold(host) {
			continue
		}
		why, awaited := s.whySilent(host)
		c.Unknown, c.Awaited = cmp.Or(c.Unknown, why), c.Awaited && awaited
	}
	switch {
	case s.damaged:
		c.Unknown, c.Awaited = "the records of who serves it cannot be read", false
	case len(c.Hosts) == 0 && !here:
		c.Unknown, c.Awaited = "no host serves it", false
	}
}

// whySilent says why a host has not told, and whether it is to.
func (s *state) whySilent(host string) (why string, awaited bool) {
	of := s.silent[host]
	_, seated := s.seats[host]
	switch {
	case of == nil:
		return "the host " + host + " is not there now", false
	case !of.Tells:
		return "the host " + host + " is of an earlier release, which does not tell of refused calls as they happen", false
	case !seated:
		return "the host " + host + " does not serve it now", true
	}
	return "the host " + host + " has not told yet", true
}
