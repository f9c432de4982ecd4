package usage

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// Callers implements [openimds.CallerList].
func (r *Meter) Callers(ctx context.Context, instanceID string, since time.Time) ([]openimds.Caller, error) {
	var all []callerRecord
	merge := func(records []callerRecord) { all = append(all, records...) }
	g := r.guest(instanceID)
	if g != nil {
		if err := r.know(ctx, g); err != nil {
			return nil, err
		}
		g.mu.Lock()
		merge(g.callers.records())
		g.mu.Unlock()
	}
	page, err := r.cfg.Store.List(ctx, store.Range{Prefix: callersKeys(instanceID)})
	if err != nil {
		return nil, err
	}
	for _, record := range page.Records {
		if g != nil && record.Key == g.callers.key {
			continue // memory knows more
		}
		stored, err := decodeCallers(record)
		if err != nil {
			return nil, err
		}
		merge(stored)
	}
	return callersSince(all, since), nil
}

// callersSince puts together what several records have of one instance's callers.
func callersSince(all []callerRecord, since time.Time) []openimds.Caller {
	merged := map[callerKey]callerRecord{}
	for _, family := range families(all) {
		from, whole := commonBeginning(family, since), !slices.ContainsFunc(family, func(c callerRecord) bool { return c.Process != "" })
		for _, c := range family {
			if c = c.after(from); whole { // what is taken off each other is made exact afterwards
				c = c.exactV1(since)
			}
			merged[c.callerKey] = c.with(merged[c.callerKey])
		}
	}
	callers := make([]openimds.Caller, 0, len(merged))
	for _, c := range apart(merged) {
		if since.IsZero() || c.Last >= since.UnixNano() {
			callers = append(callers, c.exactV1(since).caller())
		}
	}
	slices.SortFunc(callers, func(a, b openimds.Caller) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), cmp.Compare(a.Source, b.Source),
			cmp.Compare(a.PathGroup, b.PathGroup), cmp.Compare(a.UserAgent, b.UserAgent), cmp.Compare(commandOf(a), commandOf(b)))
	})
	return callers
}

// after is the caller with what it called from a time on, as exactly as that is known.
func (c callerRecord) after(since time.Time) callerRecord {
	if since.IsZero() || since.UnixNano() <= c.First {
		c.since = c.First
		return c
	}
	if c.Last < since.UnixNano() {
		c.since, c.Counts = since.UnixNano(), nil
		return c
	}
	sample := sampleOf(since.UnixNano())
	if sample < c.from {
		c.since = c.First // all that is known: too many rather than too few
	} else {
		sum, begins := sumSince(c.windows, sample)
		c.since = max(begins*sampleNanos, c.First)
		c.Counts = sum.byName()
	}
	return c
}

// exactV1 is the caller without calls without a token if the last of them was before since: that is known exactly, as
// windows are not.
func (c callerRecord) exactV1(since time.Time) callerRecord {
	if !since.IsZero() && c.LastV1 < since.UnixNano() {
		c.Counts = maps.Clone(c.Counts)
		maps.DeleteFunc(c.Counts, func(name string, _ uint64) bool { return isV1(slices.Index(countNames[:], name)) })
	}
	return c
}

// with adds what another host saw of the same caller; the zero record is nothing.
func (c callerRecord) with(d callerRecord) callerRecord {
	if d.First == 0 {
		return c
	}
	c.First, c.Last, c.since = min(c.First, d.First), max(c.Last, d.Last), min(c.since, d.since)
	if c.FirstV1 == 0 || d.FirstV1 > 0 && d.FirstV1 < c.FirstV1 {
		c.FirstV1 = d.FirstV1
	}
	c.LastV1, c.forwarded, c.times = max(c.LastV1, d.LastV1), max(c.forwarded, d.forwarded), c.times.With(d.times)
	counts := map[string]uint64{}
	for _, name := range countNames {
		counts[name] = c.Counts[name] + d.Counts[name]
	}
	c.Counts, c.Lost = counts, latest(c.Lost, d.Lost)
	return c
}

func (c callerRecord) caller() openimds.Caller {
	shown := openimds.Caller{
		Source:       Others,
		PathGroup:    c.Group,
		Counts:       map[string]int64{},
		CountedSince: time.Unix(0, c.since).UTC(),
		FirstSeen:    time.Unix(0, c.First).UTC(),
		LastSeen:     time.Unix(0, c.Last).UTC(),
	}
	if c.LastV1 > 0 {
		shown.FirstV1, shown.LastV1 = time.Unix(0, c.FirstV1).UTC(), time.Unix(0, c.LastV1).UTC()
	}
	shown.Process = c.process()
	if c.forwarded > 0 {
		shown.Forwarded = time.Unix(0, c.forwarded).UTC()
	}
	for _, list := range []struct {
		from []int64
		to   *[]time.Time
	}{{c.times.Visits(), &shown.Visits}, {c.times.Sittings(), &shown.Sittings}} {
		for _, at := range list.from {
			*list.to = append(*list.to, time.UnixMilli(at).UTC())
		}
	}
	if c.Lost != nil {
		shown.Undelivered = &openimds.UndeliveredToken{
			Time: time.Unix(0, c.Lost.At).UTC(), HopLimit: c.Lost.HopLimit, NeededHopLimit: c.Lost.Needed,
		}
	}
	for name, n := range c.Counts {
		if n > 0 {
			shown.Counts[name] = int64(n)
		}
	}
	if !c.Others {
		shown.Source = "unknown"
		if c.Source.IsValid() {
			shown.Source = c.Source.String()
		}
		shown.UserAgent = escaped(c.Agent)
	}
	return shown
}

// escaped is an agent as it can be shown: what could fool a reader or a terminal is spelt as in Go, so that
// agents that differ only in blanks of other kinds or in bytes that are no UTF-8 do not look alike.
func escaped(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if unicode.IsPrint(r) && (r != utf8.RuneError || n > 1) {
			b.WriteString(s[:n])
		} else {
			quoted := strconv.Quote(s[:n])
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}
