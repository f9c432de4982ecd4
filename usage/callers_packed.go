package usage

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"net/netip"
	"slices"
	"time"
)

// A record of callers is as small as it can be, and a guest must not make it large: what callers share
// is written once, times are distances from the latest, and an agent is just its bytes, however odd.
//
//	format, latest time, sources, agents, groups, then of each caller:
//	source (0: the others), agent, group, which counts (as of format 5 above the bit that says whether a token
//	was lost; in earlier ones a byte, below that bit), the counts,
//	time since it was last seen, time from first to last, the lost token;
//	as of format 4: time since its last call without a token, plus 1, time from the first such call to
//	that one (0 alone: no such call), the sample as of which its windows have all calls, the windows
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
	var sources, agents, groups words
	for _, r := range records {
		latest = max(latest, millis(r.Last), millis(r.LastV1))
		if r.Lost != nil {
			latest = max(latest, millis(r.Lost.At))
		}
		if !r.Others {
			sources.add(sourceText(r.Source))
			agents.add(r.Agent)
			groups.add(r.Group)
		}
	}
	b := binary.AppendUvarint([]byte{callersFormat}, uint64(latest))
	for _, list := range []words{sources, agents, groups} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, word := range list {
			b = binary.AppendUvarint(b, uint64(len(word)))
			b = append(b, word...)
		}
	}
	for _, r := range records {
		if r.Others {
			b = append(b, 0, 0, 0)
		} else {
			b = binary.AppendUvarint(b, uint64(slices.Index(sources, sourceText(r.Source))+1))
			b = binary.AppendUvarint(b, uint64(slices.Index(agents, r.Agent)))
			b = binary.AppendUvarint(b, uint64(slices.Index(groups, r.Group)))
		}
		b = r.pack(b, latest)
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
	return append(b, packed...)
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

// unpackCallers reads what packCallers wrote, or did in an earlier format.
func unpackCallers(packed []byte) ([]callerRecord, error) {
	if len(packed) == 0 || packed[0] < packedFormat || packed[0] > callersFormat {
		return nil, errDamaged
	}
	d := decoder{b: packed[1:]}
	latest := int64(d.uvarint())
	sources, agents, groups := d.words(), d.words(), d.words()
	var records []callerRecord
	for len(d.b) > 0 && !d.broken {
		source, agent, group := d.uvarint(), d.uvarint(), d.uvarint()
		r := callerRecord{callerKey: callerKey{Others: source == 0}}
		if !r.Others {
			if source > uint64(len(sources)) || agent >= uint64(len(agents)) || group >= uint64(len(groups)) {
				return nil, errDamaged
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

var errDamaged = errors.New("it is damaged; delete it")

// decoder takes values off bytes, until some are not what they should be.
type decoder struct {
	b      []byte
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
	for n := d.uvarint(); n > 0 && !d.broken; n-- {
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
