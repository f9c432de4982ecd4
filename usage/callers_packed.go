package usage

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/openimds/openimds/periods"
)

// A record of callers is as small as it can be, and a guest must not make it large: what callers share
// is written once, times are distances from the latest, and an agent is just its bytes, however odd.
//
//	format, latest time, sources, agents, groups and, as of format 6, processes, then of each caller:
//	source (0: the others), agent, group and, as of format 6, process (0: of all), which counts (as of format 5 above the bit that says whether a token
//	was lost; in earlier ones a byte, below that bit), the counts,
//	time since it was last seen, time from first to last, the lost token;
//	as of format 4: time since its last call without a token, plus 1, time from the first such call to
//	that one (0 alone: no such call), the sample as of which its windows have all calls, the windows;
//	as of format 6: time since its last call through a proxy, plus 1 (0: none), the beginnings of its visits and
//	of its sittings: how many, then the tenths of seconds from the latest time back to the last, and so on
//
// Lists are their length and their parts, each with its own length. So are windows. Times are in
// milliseconds.

// lostBit says beside which counts a caller has that a lost token follows: as of format 5, and before.
const (
	lostBit       = 1
	formerLostBit = 1 << 7
)

func packCallers(records []callerRecord) []byte {
	var latest int64
	var sources, agents, groups, processes words
	for _, r := range records {
		latest = max(latest, millis(r.Last), millis(r.LastV1), millis(r.forwarded))
		for _, beginnings := range [][]int64{r.times.Visits(), r.times.Sittings()} {
			latest = max(latest, slices.Max(append(beginnings, 0))) // of a clock that was set back since
		}
		if r.Lost != nil {
			latest = max(latest, millis(r.Lost.At))
		}
		if !r.Others {
			sources.add(sourceText(r.Source))
			agents.add(r.Agent)
			groups.add(r.Group)
			if r.Process != "" {
				processes.add(r.Process)
			}
		}
	}
	b := binary.AppendUvarint([]byte{callersFormat}, uint64(latest))
	for _, list := range []words{sources, agents, groups, processes} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, word := range list {
			b = binary.AppendUvarint(b, uint64(len(word)))
			b = append(b, word...)
		}
	}
	for _, r := range records {
		if r.Others {
			b = append(b, 0, 0, 0, 0)
		} else {
			b = binary.AppendUvarint(b, uint64(slices.Index(sources, sourceText(r.Source))+1))
			b = binary.AppendUvarint(b, uint64(slices.Index(agents, r.Agent)))
			b = binary.AppendUvarint(b, uint64(slices.Index(groups, r.Group)))
			b = binary.AppendUvarint(b, uint64(slices.Index(processes, r.Process)+1))
		}
		b = r.pack(b, latest)
		b = packTimes(b, r.times, latest, maxTimesBytes/len(records))
	}
	return b
}

func (r callerRecord) pack(b []byte, latest int64) []byte {
	mask := uint64(0)
	var counted []uint64
	for m, name := range countNames {
		if n := r.Counts[name]; n > 0 {
			mask |= lostBit << (m + 1)
			counted = append(counted, n)
		}
	}
	if r.Lost != nil {
		mask |= lostBit
	}
	b = binary.AppendUvarint(b, mask)
	for _, n := range counted {
		b = binary.AppendUvarint(b, n)
	}
	first, last := millis(r.First), millis(r.Last)
	b = binary.AppendUvarint(b, uint64(latest-last))
	b = binary.AppendUvarint(b, uint64(max(last-first, 0)))
	if r.Lost != nil {
		b = binary.AppendUvarint(b, uint64(latest-millis(r.Lost.At)))
		b = binary.AppendUvarint(b, uint64(r.Lost.HopLimit))
		b = binary.AppendUvarint(b, uint64(r.Lost.Needed))
	}
	if r.LastV1 == 0 {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(latest-millis(r.LastV1))+1)
		b = binary.AppendUvarint(b, uint64(max(millis(r.LastV1)-millis(r.FirstV1), 0)))
	}
	b = binary.AppendUvarint(b, uint64(r.from))
	packed := packWindows(r.windows)
	b = binary.AppendUvarint(b, uint64(len(packed)))
	b = append(b, packed...)
	if r.forwarded == 0 {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, uint64(latest-millis(r.forwarded))+1)
	}
	return b
}

// maxTimesBytes bounds what the times take up that an instance's callers came at.
const maxTimesBytes = 12 << 10

// timesUnit is what times of visits are counted in, in milliseconds.
const timesUnit = 100

// packTimes writes the beginnings of visits and sittings, without the earliest if they need more room than there is.
func packTimes(b []byte, times periods.Record, latest int64, room int) []byte {
	visits, sittings := times.Visits(), times.Sittings()
	slices.Sort(visits) // a clock may have been set back
	slices.Sort(sittings)
	for {
		packed := packBeginnings(packBeginnings(nil, visits, latest), sittings, latest)
		if len(packed) <= room || len(visits)+len(sittings) == 0 {
			return append(b, packed...)
		}
		if len(visits) >= len(sittings) {
			visits = visits[1:]
		} else {
			sittings = sittings[1:]
		}
	}
}

// packBeginnings writes how many there are, and each as the distance from the one after it.
func packBeginnings(b []byte, beginnings []int64, latest int64) []byte {
	latest /= timesUnit
	b = binary.AppendUvarint(b, uint64(len(beginnings)))
	for _, at := range slices.Backward(beginnings) {
		b = binary.AppendUvarint(b, uint64(latest-at/timesUnit))
		latest = at / timesUnit
	}
	return b
}

// words are texts, each once.
type words []string

func (w *words) add(word string) {
	if !slices.Contains(*w, word) {
		*w = append(*w, word)
	}
}

func sourceText(a netip.Addr) string {
	b, _ := a.MarshalBinary() // never fails
	return string(b)
}

func millis(nanos int64) int64 { return max(nanos/int64(time.Millisecond), 0) }

func nanos(millis int64) int64 { return millis * int64(time.Millisecond) }

// packedFormat is the first format that is packed; formerFormat is the last with a byte of counts.
const (
	packedFormat = 3
	formerFormat = 4
)

// unpackCallers reads what packCallers wrote, or did in an earlier format, if it is of so many callers at most.
func unpackCallers(packed []byte, most int) ([]callerRecord, error) {
	if len(packed) == 0 || packed[0] < packedFormat || packed[0] > callersFormat {
		return nil, errDamaged
	}
	d := decoder{b: packed[1:], most: most}
	latest := int64(d.uvarint())
	sources, agents, groups := d.words(), d.words(), d.words()
	var processes words
	if packed[0] > 5 {
		processes = d.words()
	}
	var records []callerRecord
	for len(d.b) > 0 && !d.broken {
		if len(records) == most {
			return nil, errDamaged
		}
		source, agent, group, process := d.uvarint(), d.uvarint(), d.uvarint(), uint64(0)
		if packed[0] > 5 {
			process = d.uvarint()
		}
		r := callerRecord{callerKey: callerKey{Others: source == 0}}
		if !r.Others {
			if source > uint64(len(sources)) || agent >= uint64(len(agents)) || group >= uint64(len(groups)) || process > uint64(len(processes)) {
				return nil, errDamaged
			}
			if process > 0 {
				r.Process = processes[process-1]
			}
			if err := r.Source.UnmarshalBinary([]byte(sources[source-1])); err != nil {
				return nil, errDamaged
			}
			r.Agent, r.Group = agents[agent], groups[group]
		}
		d.caller(&r, latest, packed[0])
		if packed[0] == packedFormat {
			r.carryOver()
		} else {
			d.v1(&r, latest)
			if packed[0] > 5 {
				d.rhythm(&r, latest)
			}
		}
		records = append(records, r)
	}
	if d.broken {
		return nil, errDamaged
	}
	return records, nil
}

func (d *decoder) caller(r *callerRecord, latest int64, format byte) {
	counted, lost := uint64(0), false
	if format > formerFormat {
		mask := d.uvarint()
		counted, lost = mask>>1, mask&lostBit != 0
	} else {
		mask := d.byte()
		counted, lost = uint64(mask&^formerLostBit), mask&formerLostBit != 0
	}
	if bits.Len64(counted) > countCount {
		d.b, d.broken = nil, true
		return
	}
	for m, name := range countNames {
		if counted&(1<<m) == 0 {
			continue
		}
		if r.Counts == nil {
			r.Counts = map[string]uint64{}
		}
		r.Counts[name] = d.uvarint()
	}
	last := latest - int64(d.uvarint())
	r.First, r.Last = nanos(last-int64(d.uvarint())), nanos(last)
	if lost {
		r.Lost = &undelivered{At: nanos(latest - int64(d.uvarint())), HopLimit: int(d.uvarint()), Needed: int(d.uvarint())}
	}
}

// v1 takes what format 4 has more.
func (d *decoder) v1(r *callerRecord, latest int64) {
	if ago := d.uvarint(); ago > 0 {
		last := latest - int64(ago-1)
		r.FirstV1, r.LastV1 = nanos(last-int64(d.uvarint())), nanos(last)
	}
	r.from = int64(d.uvarint())
	size := d.uvarint()
	if size > uint64(len(d.b)) {
		d.b, d.broken = nil, true
		return
	}
	inner := decoder{b: d.b[:size]}
	d.b = d.b[size:]
	if r.windows = inner.windows(); inner.broken {
		d.b, d.broken = nil, true
	}
}

// rhythm takes what format 6 has more.
func (d *decoder) rhythm(r *callerRecord, latest int64) {
	if ago := d.uvarint(); ago > 0 {
		r.forwarded = nanos(latest - int64(ago-1))
	}
	visits := d.beginnings(latest)
	r.times = periods.Of(visits, d.beginnings(latest))
}

func (d *decoder) beginnings(latest int64) (all []int64) {
	n := d.uvarint()
	if n > periods.Max {
		d.b, d.broken = nil, true
		return nil
	}
	latest /= timesUnit
	for range n {
		latest -= int64(d.uvarint())
		all = append(all, latest*timesUnit)
	}
	return all
}

var errDamaged = errors.New("it is damaged; delete it")

// decoder takes values off bytes, until some are not what they should be.
type decoder struct {
	b      []byte
	most   int // words in a list
	broken bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.b, d.broken = nil, true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.broken = true
		return 0
	}
	b := d.b[0]
	d.b = d.b[1:]
	return b
}

func (d *decoder) words() (words []string) {
	n := d.uvarint()
	if n > uint64(d.most) {
		d.b, d.broken = nil, true
	}
	for ; n > 0 && !d.broken; n-- {
		size := d.uvarint()
		if size > uint64(len(d.b)) {
			d.b, d.broken = nil, true
			return nil
		}
		words = append(words, string(d.b[:size]))
		d.b = d.b[size:]
	}
	return words
}
