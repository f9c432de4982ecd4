package usage

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/openimds/openimds"
)

// What a caller did is kept by windows, so that the calls of the last hour or week can be told from older
// ones: a caller that was taught IMDSv2 is done then. The older a window, the longer it is.

// spans are how long windows can be, in samples: a sample, an hour, a day, a week.
var spans = [...]int64{1, 12, 12 * 24, 12 * 24 * 7}

// window has the calls that one caller made in a time.
type window struct {
	start  int64 // number of its first sample
	span   uint8 // its place in spans
	counts counts
}

func (w window) end() int64 { return w.start + spans[w.span] }

// horizons are how old windows of each span become before they are joined, in samples; those of the last span
// stay as long as callers do. Guests whose callers take up too much have the later rows.
var horizons = [...][len(spans) - 1]int64{
	{3 * 12, 8 * 288, math.MaxInt64},
	{12, 288, math.MaxInt64},
	{0, 288, 14 * 288},
	{0, 0, 7 * 288},
	{0, 0, 0},
}

// maxWindowBytes bounds what the windows of an instance's callers take up.
const maxWindowBytes = 24 << 10

// past is what a caller did up to its last visit in an earlier sample. All of it is under the guest's mu.
type past struct {
	// put are the counts that are in the windows already, or came before them.
	put counts
	// packed has the windows, in order: the fewest bytes, since most callers are silent most of the time.
	packed []byte
	// from is the first sample as of which the windows have all calls.
	from int64
}

const sampleNanos = int64(openimds.MetricPeriod)

func sampleOf(nanos int64) int64 { return nanos / sampleNanos }

// now are the caller's counts at this moment.
func (c *caller) now() (n counts) {
	for i := range n {
		n[i] = c.counts[i].Load()
	}
	return n
}

// putAway makes a window of what was counted since the last one, so that all take up a number of bytes if
// that can be. The guest's mu is held.
func (c *caller) putAway(room int) {
	n := c.now()
	windows := c.windows(n)
	c.past.put = n
	latest := sampleOf(c.last.Load())
	for row := range horizons {
		thinned := thin(slices.Clone(windows), latest, horizons[row])
		if c.past.packed = packWindows(thinned); len(c.past.packed) <= room {
			break
		}
	}
	c.past.from = max(c.past.from, latest-callerDays*spans[2])
}

// windows are those of the past and, as one of a sample, what was counted since.
func (c *caller) windows(n counts) []window {
	d := decoder{b: c.past.packed}
	windows := d.windows()
	since := window{start: sampleOf(c.last.Load())}
	for i := range n {
		since.counts[i] = n[i] - c.past.put[i]
	}
	if since.counts != (counts{}) {
		windows = append(windows, since)
	}
	return joined(windows)
}

// thin joins windows that are older than their horizon, and drops those older than callers are kept.
func thin(windows []window, latest int64, horizon [len(spans) - 1]int64) []window {
	windows = slices.DeleteFunc(windows, func(w window) bool { return w.end() <= latest-callerDays*spans[2] })
	for i, w := range windows {
		for int(w.span) < len(horizon) && latest-w.start >= horizon[w.span] {
			w.span++
		}
		windows[i].span, windows[i].start = w.span, w.start-w.start%spans[w.span]
	}
	return joined(windows)
}

// joined puts windows in order, and those together of which one lies in another.
func joined(windows []window) []window {
	slices.SortStableFunc(windows, func(a, b window) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.span, a.span)) })
	kept := windows[:0]
	for _, w := range windows {
		if last := len(kept) - 1; last >= 0 && w.start < kept[last].end() {
			kept[last].counts.add(w.counts)
			continue
		}
		kept = append(kept, w)
	}
	return kept
}

// sumSince is what windows have from a sample on, and when the first of them begins.
func sumSince(windows []window, sample int64) (sum counts, begins int64) {
	begins = sample
	for _, w := range windows {
		if w.end() > sample {
			sum.add(w.counts)
			begins = min(begins, w.start)
		}
	}
	return sum, begins
}

// Packed windows are, one after the other: the distance from the end of the one before, with its span in the
// lowest two bits; which counts there are; the counts.
func packWindows(windows []window) []byte {
	var b []byte
	end := int64(0)
	for _, w := range windows {
		b = binary.AppendUvarint(b, uint64(w.start-end)<<2|uint64(w.span))
		mask := uint64(0)
		for i, n := range w.counts {
			if n > 0 {
				mask |= 1 << i
			}
		}
		b = binary.AppendUvarint(b, mask)
		for _, n := range w.counts {
			if n > 0 {
				b = binary.AppendUvarint(b, n)
			}
		}
		end = w.end()
	}
	return b
}

// windows takes all of them off the bytes.
func (d *decoder) windows() []window {
	var windows []window
	end := int64(0)
	for len(d.b) > 0 && !d.broken {
		head := d.uvarint()
		w := window{start: end + int64(head>>2), span: uint8(head & 3)}
		mask := d.uvarint()
		if w.start < end || w.start > math.MaxInt64/2 || bits.Len64(mask) > countCount {
			d.b, d.broken = nil, true
			return nil
		}
		for i := range w.counts {
			if mask&(1<<i) != 0 {
				w.counts[i] = d.uvarint()
			}
		}
		windows = append(windows, w)
		end = w.end()
	}
	return windows
}
