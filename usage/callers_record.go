package usage

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/periods"
	"github.com/openimds/openimds/store"
)

// Others is the source of the one caller that stands for all who came after the table was full.
const Others = openimds.OtherCallers

// callersPrefix leads the keys of records of callers, which go on with the instance's id, a slash and the host.
const callersPrefix = "usage/callers/"

func callersKeys(instanceID string) string { return callersPrefix + instanceID + "/" }

// callerDays is how long callers are remembered that are not seen again.
const callerDays = int64(openimds.CallersKept / (24 * time.Hour))

// callersFormat leads a record of callers. The fifth did not tell how often they came; the fourth had room for seven
// counts; the third did not tell when calls were without a token, nor
// when calls were made at all; earlier ones were JSON, the first without undelivered tokens.
const callersFormat = 6

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
	// FirstV1 and LastV1 are the first and last call without a token, in Unix nanoseconds; 0: none.
	FirstV1 int64 `json:"-"`
	LastV1  int64 `json:"-"`
	// windows have the calls as of the sample from.
	windows []window
	from    int64
	// forwarded is the latest call through a proxy, in Unix nanoseconds; 0: none.
	forwarded int64
	times     periods.Record
	// since is when the calls begin that Counts has, in Unix nanoseconds; 0: with the first.
	since int64
}

// carryOver fills in what an earlier format does not tell: nobody is shown as one who has given up calls
// without a token before it calls again.
func (r *callerRecord) carryOver() {
	if r.Counts[openimds.MetricNoToken]+r.Counts[openimds.MetricNoTokenRejected] > 0 {
		r.FirstV1, r.LastV1 = r.First, r.Last
	}
	r.from = sampleOf(r.Last) + 1
}

// callerKey is what tells callers apart.
type callerKey struct {
	Others bool       `json:"others,omitempty"`
	Source netip.Addr `json:"source,omitzero"`
	// Agent is the User-Agent; in earlier formats it is quoted as in Go.
	Agent string `json:"agent,omitempty"`
	Group string `json:"group,omitempty"`
	// Process is as [process] has it; empty: the caller is all of them.
	Process string `json:"-"`
}

func (c *caller) record() callerRecord {
	r := callerRecord{
		callerKey: callerKey{Source: c.source, Agent: c.userAgent, Group: groupNames[c.group]},
		First:     c.first, Last: c.last.Load(),
	}
	n := c.now()
	if c.process != nil {
		r.Process = c.process.text
	}
	r.windows, r.from = c.windows(n), c.past.from
	r.Counts = n.byName()
	r.FirstV1, r.LastV1 = c.firstV1.Load(), c.lastV1.Load()
	r.forwarded, r.times = c.forwarded.Load(), c.times
	// After the counts: Undelivered stores it before it counts, so what is counted has one.
	if n[tokenUndelivered] > 0 {
		r.Lost = c.lost.Load()
	}
	return r
}

// byName are those that are not zero.
func (c counts) byName() map[string]uint64 {
	named := map[string]uint64{}
	for i, name := range countNames {
		if c[i] > 0 {
			named[name] = c[i]
		}
	}
	return named
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
		callers, err = unpackCallers(r.Value, math.MaxInt)
	}
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", r.Key, err)
	}
	return callers, nil
}

func decodeEarlierCallers(value []byte) ([]callerRecord, error) {
	var stored callersRecord
	if err := json.Unmarshal(value, &stored); err != nil {
		return nil, fmt.Errorf("it is damaged (%w); delete it", err)
	}
	if stored.Schema < 1 || stored.Schema >= packedFormat {
		return nil, fmt.Errorf("it has format %d, this program knows %d: run the newer openimds", stored.Schema, callersFormat)
	}
	for i := range stored.Callers {
		agent := &stored.Callers[i].Agent
		*agent, _ = strconv.Unquote(*agent)
		if len(*agent) == MaxUserAgent { // cut without a mark
			*agent = (*agent)[:MaxUserAgent-len(cutMark)] + cutMark
		}
		stored.Callers[i].carryOver()
	}
	return stored.Callers, nil
}

// learnCallers adds what an earlier process stored to what was seen since. Later records are only
// what this process wrote, so that of them the revision alone is of interest.
func (g *Tally) learnCallers(r store.Record) error {
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
		var others int64
		for _, s := range stored {
			if known := c.learn(s); known == &c.others { // their windows together are whole only as of the latest
				others = max(others, s.from)
				known.past.from = others
			}
		}
	}
	c.known, c.read, c.revision = true, true, r.Revision
	return nil
}

// learn adds what was stored of one caller to the one that it is now, or to the others; nil: there is no room for its
// process.
func (c *callers) learn(s callerRecord) *caller {
	known := &c.others
	if !s.Others {
		agent, part := []byte(s.Agent), groups[s.Group]
		var by *process
		if s.Process != "" {
			if by = c.learnProcess(s.Process); by == nil {
				return nil // it goes on as one of those that are not told apart
			}
		}
		if known = c.add(c.hash(s.Source, part, agent, by), s.Source, part, agent, by, time.Unix(0, s.First)); known == nil {
			return nil
		}
	}
	if known.first == 0 || s.First < known.first {
		known.first = s.First
	}
	if last := known.last.Load(); s.Last > last {
		known.last.CompareAndSwap(last, s.Last) // else it was seen just now
	}
	for i, name := range countNames {
		known.counts[i].Add(s.Counts[name])
		known.past.put[i] += s.Counts[name]
	}
	d := decoder{b: known.past.packed}
	known.past.packed = packWindows(joined(append(s.windows, d.windows()...)))
	known.past.from = s.from // of this process, the windows have all
	known.times = known.times.With(s.times)
	known.forwarded.CompareAndSwap(0, s.forwarded) // else there was one just now
	if s.LastV1 > 0 {
		if first := known.firstV1.Load(); first == 0 || s.FirstV1 < first {
			known.firstV1.Store(s.FirstV1)
		}
		if last := known.lastV1.Load(); s.LastV1 > last {
			known.lastV1.CompareAndSwap(last, s.LastV1) // else there was one just now
		}
	}
	if s.Lost != nil {
		known.lost.CompareAndSwap(nil, s.Lost) // else one was lost since
	}
	return known
}

// draftCallers returns the change that brings the record up to date. The guest's mu is held.
func (g *Tally) draftCallers(now time.Time) store.Write {
	c := &g.callers
	held := c.traces() // before they are read: what is counted meanwhile is written the next time
	return store.Write{
		Change: store.Change{Verb: store.Put, Key: c.key, Value: packCallers(c.records()), If: c.revision},
		Done: func(revision int64) {
			g.mu.Lock()
			defer g.mu.Unlock()
			c.revision, c.saved, c.savedAt = revision, held, now
		},
		Conflict: func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			c.known, c.saved.news = false, -1
		},
	}
}
