package history

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/openimds/openimds/store"
)

// A record of the history has one day of one instance, as cells: of a sample each while the day is
// young, of an hour each when it is old.
const (
	daySeconds     = int64(24 * 60 * 60)
	hourSeconds    = int64(60 * 60)
	minuteSeconds  = int64(60)
	samplesPerDay  = daySeconds / sampleSeconds
	samplesPerHour = hourSeconds / sampleSeconds
)

// cell is what the samples come to that begin in one part of a day.
type cell struct {
	at            int // the part's place in the day
	samples       int
	sum, min, max Counts
}

func newCell(at int, c Counts) cell { return cell{at: at, samples: 1, sum: c, min: c, max: c} }

// with adds other samples to the cell.
func (c cell) with(d cell) cell {
	c.samples += d.samples
	c.sum.add(d.sum)
	for m := range c.min {
		c.min[m] = min(c.min[m], d.min[m])
		c.max[m] = max(c.max[m], d.max[m])
	}
	return c
}

// doubt marks the cell of a sample of which not all is known.
func (c *cell) doubt() {
	c.sum[broken] = max(c.sum[broken], 1)
	c.min, c.max = c.sum, c.sum
}

// addCounts adds what was counted in samples to the samples of a day; cells stay in order.
func addCounts(cells []cell, more map[int]*Counts) []cell {
	for at, c := range more {
		cells = addSample(cells, at, *c)
	}
	return cells
}

func addSample(cells []cell, at int, c Counts) []cell {
	i, found := slices.BinarySearchFunc(cells, at, func(c cell, at int) int { return c.at - at })
	if !found {
		return slices.Insert(cells, i, newCell(at, c))
	}
	cells[i].sum.add(c)
	cells[i].min, cells[i].max = cells[i].sum, cells[i].sum
	return cells
}

// hours sums up the samples of a day by the hour.
func hours(cells []cell) []cell {
	var hours []cell
	for _, c := range cells {
		c.at /= int(samplesPerHour)
		if last := len(hours) - 1; last >= 0 && hours[last].at == c.at {
			hours[last] = hours[last].with(c)
		} else {
			hours = append(hours, c)
		}
	}
	return hours
}

// cellsFormat leads an encoded record. A later format may mean more, so it is refused, never half-read.
const (
	cellsFormat = 4
	// wholeFormat is of records all of whose samples are known as a whole, as nearly all are.
	wholeFormat = 3
)

// formatMetrics is how many metrics a format has, the first of metricNames.
var formatMetrics = [cellsFormat + 1]int{1: 4, 2: 5, wholeFormat: metricCount, cellsFormat: metricCount + 1}

// encodeCells writes cells as runs of equal neighbours, each with the distance from the run before:
// an idle day of a running instance takes about ten bytes.
func encodeCells(cells []cell) []byte {
	format := byte(wholeFormat)
	if slices.ContainsFunc(cells, func(c cell) bool { return c.sum[broken] > 0 }) {
		format = cellsFormat
	}
	metrics := formatMetrics[format]
	b := []byte{format}
	next := 0
	for i := 0; i < len(cells); {
		first := cells[i]
		n := 1
		for i+n < len(cells) && continues(first, cells[i+n], n) {
			n++
		}
		b = binary.AppendUvarint(b, uint64(first.at-next))
		b = binary.AppendUvarint(b, uint64(n))
		b = binary.AppendUvarint(b, uint64(first.samples))
		b = appendCounts(b, first.sum, metrics)
		if first.samples > 1 { // of one sample, all three are the same
			b = appendCounts(b, first.min, metrics)
			b = appendCounts(b, first.max, metrics)
		}
		i += n
		next = first.at + n
	}
	return b
}

func continues(first, c cell, n int) bool {
	c.at -= n
	return c == first
}

func appendCounts(b []byte, c Counts, metrics int) []byte {
	for _, n := range c[:metrics] {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

var errDamaged = errors.New("it is damaged; delete it")

func decodeSamples(r store.Record) ([]cell, error) { return decodeRecord(r, samplesPerDay) }

func decodeHours(r store.Record) ([]cell, error) { return decodeRecord(r, daySeconds/hourSeconds) }

func decodeRecord(r store.Record, parts int64) ([]cell, error) {
	cells, err := decodeCells(r.Value, parts)
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", r.Key, err)
	}
	return cells, nil
}

// decodeCells reads what encodeCells wrote of a day with that many parts.
func decodeCells(b []byte, parts int64) ([]cell, error) {
	return collect(parts, func(pass func(*cell, int)) error { return eachRun(b, parts, pass) })
}

// collect has the runs of a day with that many parts as single cells.
func collect(parts int64, runs func(pass func(first *cell, n int)) error) ([]cell, error) {
	var cells []cell
	err := runs(func(first *cell, n int) {
		if cells == nil { // mostly of all of the day
			cells = make([]cell, 0, parts)
		}
		for i := range n {
			c := *first
			c.at += i
			cells = append(cells, c)
		}
	})
	if err != nil {
		return nil, err
	}
	return cells, nil
}

// eachRun passes on the runs of equal cells that encodeCells wrote of a day with that many parts: the first of each,
// and how many there are; it is to be copied by who keeps it. Of a damaged record it may have passed on some.
func eachRun(b []byte, parts int64, pass func(first *cell, n int)) error {
	if len(b) == 0 {
		return errDamaged
	}
	if b[0] > cellsFormat {
		return fmt.Errorf("it has format %d, this program knows %d: run the newer openimds", b[0], cellsFormat)
	}
	metrics := formatMetrics[b[0]]
	if metrics == 0 {
		return errDamaged
	}
	d := decoder{b: b, at: 1}
	var c cell // one for all: a record may have hundreds of runs
	for next := uint64(0); d.at < len(b); {
		at, n := next+d.uvarint(), d.uvarint()
		c.samples = int(d.uvarint())
		d.counts(&c.sum, metrics)
		c.min, c.max = c.sum, c.sum
		if c.samples > 1 {
			d.counts(&c.min, metrics)
			d.counts(&c.max, metrics)
		}
		if d.broken || c.samples < 1 || at < next || at >= uint64(parts) || n == 0 || n > uint64(parts)-at {
			return errDamaged
		}
		c.at = int(at)
		pass(&c, int(n))
		next = at + n
	}
	return nil
}

type decoder struct {
	b      []byte
	at     int // the next byte's place
	broken bool
}

func (d *decoder) uvarint() uint64 {
	if at := d.at; at < len(d.b) && d.b[at] < 0x80 { // as most are
		d.at = at + 1
		return uint64(d.b[at])
	}
	return d.long()
}

func (d *decoder) long() uint64 {
	v, n := binary.Uvarint(d.b[d.at:])
	if n <= 0 {
		d.at, d.broken = len(d.b), true
		return 0
	}
	d.at += n
	return v
}

// counts reads as many of c as there are; the others stay zero.
func (d *decoder) counts(c *Counts, metrics int) {
	for m := range c[:metrics] {
		c[m] = d.uvarint()
	}
}
