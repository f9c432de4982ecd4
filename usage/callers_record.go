package usage

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// Others is the source of the one caller that stands for all who came after the table was full.
const Others = "others"

// callersPrefix leads the keys of records of callers, which go on with the instance's id, a slash and the host.
const callersPrefix = "usage/callers/"

func callersKeys(instanceID string) string { return callersPrefix + instanceID + "/" }

// callerDays is how long callers are remembered that are not seen again.
const callerDays = 63

// callersFormat leads a record of callers. Earlier ones were JSON, the first without undelivered tokens.
const callersFormat = 3

// callersRecord is a record of an earlier format.
type callersRecord struct {
	Schema  int            `json:"schema"`
	Callers []callerRecord `json:"callers"`
}

type callerRecord struct {
	callerKey
	Counts map[string]uint64 `json:"counts,omitempty"`
	// First and last time seen, in Unix nanoseconds.
	First int64        `json:"first"`
	Last  int64        `json:"last"`
	Lost  *undelivered `json:"undelivered,omitempty"`
}

// callerKey is what tells callers apart.
type callerKey struct {
	Others bool       `json:"others,omitempty"`
	Source netip.Addr `json:"source,omitzero"`
	// Agent is the User-Agent; in earlier formats it is quoted as in Go.
	Agent string `json:"agent,omitempty"`
	Group string `json:"group,omitempty"`
}

func (c *caller) record() callerRecord {
	r := callerRecord{
		callerKey: callerKey{Source: c.source, Agent: c.userAgent, Group: groupNames[c.group]},
		First:     c.first, Last: c.last.Load(),
	}
	for m, name := range metricNames {
		if n := c.counts[m].Load(); n > 0 {
			if r.Counts == nil {
				r.Counts = map[string]uint64{}
			}
			r.Counts[name] = n
		}
	}
	// After the counts: Undelivered stores it before it counts, so what is counted has one.
	if r.Counts[metricNames[tokenUndelivered]] > 0 {
		r.Lost = c.lost.Load()
	}
	return r
}

func (c *callers) records() []callerRecord {
	records := make([]callerRecord, 0, c.count+1)
	for known := range c.table.Load().all {
		records = append(records, known.record())
	}
	if c.others.first != 0 {
		others := c.others.record()
		others.callerKey = callerKey{Others: true}
		records = append(records, others)
	}
	return records
}

func decodeCallers(r store.Record) ([]callerRecord, error) {
	if r.Value == nil {
		return nil, nil
	}
	var callers []callerRecord
	var err error
	switch format := r.Value[:min(1, len(r.Value))]; {
	case string(format) == "{":
		callers, err = decodeEarlierCallers(r.Value)
	case len(format) == 1 && format[0] > callersFormat:
		err = fmt.Errorf("it has format %d, this program knows %d: run the newer openimds", format[0], callersFormat)
	default:
		callers, err = unpackCallers(r.Value)
	}
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", r.Key, err)
	}
	return callers, nil
}

func decodeEarlierCallers(value []byte) ([]callerRecord, error) {
	var stored callersRecord
	if err := json.Unmarshal(value, &stored); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if stored.Schema < 1 || stored.Schema >= callersFormat {
		return nil, fmt.Errorf("it has format %d, this program knows %d: run the newer openimds", stored.Schema, callersFormat)
	}
	for i := range stored.Callers {
		agent := &stored.Callers[i].Agent
		*agent, _ = strconv.Unquote(*agent)
		if len(*agent) == MaxUserAgent { // cut without a mark
			*agent = (*agent)[:MaxUserAgent-len(cutMark)] + cutMark
		}
	}
	return stored.Callers, nil
}

// learnCallers adds what an earlier process stored to what was seen since. Later records are only
// what this process wrote, so that of them the revision alone is of interest.
func (g *Guest) learnCallers(r store.Record) error {
	stored, err := decodeCallers(r)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	c := &g.callers
	if c.known {
		return nil
	}
	if !c.read {
		// If there is not room for all, for the latest.
		slices.SortStableFunc(stored, func(a, b callerRecord) int { return cmp.Compare(b.Last, a.Last) })
		for _, s := range stored {
			c.learn(s)
		}
	}
	c.known, c.read, c.revision = true, true, r.Revision
	return nil
}

func (c *callers) learn(s callerRecord) {
	known := &c.others
	if !s.Others {
		agent, part := []byte(s.Agent), groups[s.Group]
		known = c.add(c.hash(s.Source, part, agent), s.Source, part, agent, time.Unix(0, s.First))
	}
	if known.first == 0 || s.First < known.first {
		known.first = s.First
	}
	if last := known.last.Load(); s.Last > last {
		known.last.CompareAndSwap(last, s.Last) // else it was seen just now
	}
	for m, name := range metricNames {
		known.counts[m].Add(s.Counts[name])
	}
	if s.Lost != nil {
		known.lost.CompareAndSwap(nil, s.Lost) // else one was lost since
	}
}

// draftCallers returns the change that brings the record up to date. The guest's mu is held.
func (g *Guest) draftCallers(now time.Time) store.Write {
	c := &g.callers
	held := c.traces() // before they are read: what is counted meanwhile is written the next time
	return store.Write{
		Change: store.Change{Verb: store.Put, Key: c.key, Value: packCallers(c.records()), If: c.revision},
		Done: func(revision int64) {
			g.mu.Lock()
			defer g.mu.Unlock()
			c.revision, c.saved, c.savedAt, c.added = revision, held, now, c.count != held.callers
		},
		Conflict: func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			c.known, c.added = false, true
		},
	}
}

// Callers implements [openimds.CallerList].
func (r *Recorder) Callers(ctx context.Context, instanceID string, since time.Time) ([]openimds.Caller, error) {
	merged := map[callerKey]callerRecord{}
	merge := func(records []callerRecord) {
		for _, c := range records {
			merged[c.callerKey] = c.with(merged[c.callerKey])
		}
	}
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
	callers := make([]openimds.Caller, 0, len(merged))
	for _, c := range merged {
		if c.Last >= since.UnixNano() {
			callers = append(callers, c.caller())
		}
	}
	slices.SortFunc(callers, func(a, b openimds.Caller) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), cmp.Compare(a.Source, b.Source),
			cmp.Compare(a.PathGroup, b.PathGroup), cmp.Compare(a.UserAgent, b.UserAgent))
	})
	return callers, nil
}

// with adds what another host saw of the same caller; the zero record is nothing.
func (c callerRecord) with(d callerRecord) callerRecord {
	if d.First == 0 {
		return c
	}
	c.First, c.Last = min(c.First, d.First), max(c.Last, d.Last)
	counts := map[string]uint64{}
	for _, name := range metricNames {
		counts[name] = c.Counts[name] + d.Counts[name]
	}
	c.Counts, c.Lost = counts, latest(c.Lost, d.Lost)
	return c
}

func (c callerRecord) caller() openimds.Caller {
	shown := openimds.Caller{
		Source:    Others,
		PathGroup: c.Group,
		Counts:    map[string]int64{},
		FirstSeen: time.Unix(0, c.First).UTC(),
		LastSeen:  time.Unix(0, c.Last).UTC(),
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
