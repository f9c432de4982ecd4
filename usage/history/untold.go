package history

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/openimds/openimds/store"
)

// settledAfter is how long after its end a sample is taken for all that its host has counted by then: a host has stored it
// 10 seconds after the end, and one that tells another's store 5 seconds later. Alarms look later.
const settledAfter = 25 * time.Second

// untold says from which sample on hosts may have more than the store has: by host, as their marks say. Whoever is cut off,
// or was killed and does not come back, leaves its mark there.
type untold struct {
	from    map[string]int64
	settled int64 // those from this number on are taken as they are so far
}

// marks reads those of all hosts but one, whose own counts need none. They are to be read before the samples: what is
// stored meanwhile may be taken for less than it is, and never for more.
func (h *History) marks(ctx context.Context, s store.Store, but string) (untold, error) {
	page, err := s.List(ctx, store.Range{Prefix: openPrefix})
	u := untold{settled: sampleNumber(h.cfg.Now().Add(-settledAfter))}
	for _, r := range page.Records {
		host := r.Key[len(openPrefix):]
		if from, n := binary.Varint(r.Value); n > 0 && host != but {
			if u.from == nil {
				u.from = map[string]int64{}
			}
			u.from[host] = from
		}
	}
	return u, err
}

// span are the samples of a host's day of which not all is known, from first up to before end.
func (u untold) span(host string, day int64) (first, end int) {
	from, open := u.from[host]
	if !open {
		return 0, 0
	}
	within := func(n int64) int { return int(min(max(n-day*samplesPerDay, 0), samplesPerDay)) }
	return within(from), within(u.settled)
}

// runs passes on the runs of a host's record of a day as eachRun does; what is not known as a whole is marked.
func (u untold) runs(value []byte, host string, day int64, pass func(c *cell, n int)) error {
	first, end := u.span(host, day)
	if first >= end {
		return eachRun(value, samplesPerDay, pass)
	}
	return eachRun(value, samplesPerDay, func(c *cell, n int) {
		for last := c.at + n; n > 0; n = last - c.at {
			part := *c
			switch {
			case c.at < first:
				n = min(n, first-c.at)
			case c.at < end:
				n = min(n, end-c.at)
				part.sum[broken] = max(part.sum[broken], 1)
				part.min, part.max = part.sum, part.sum
			}
			pass(&part, n)
			c.at += n
		}
	})
}

// cells are those of a host's record of samples.
func (u untold) cells(r store.Record) ([]cell, error) {
	day, _, err := parseDayKey(r.Key, samplePrefix)
	if err != nil {
		return nil, err
	}
	cells, err := collect(samplesPerDay, func(pass func(c *cell, n int)) error { return u.runs(r.Value, hostOf(r.Key), day, pass) })
	if err != nil {
		return nil, fmt.Errorf("record %s: %w", r.Key, err)
	}
	return cells, nil
}

// dropMarks forgets the marks of hosts of which no single samples are left before that day.
func (h *History) dropMarks(ctx context.Context, s store.Store, before int64, but string) error {
	page, err := s.List(ctx, store.Range{Prefix: openPrefix})
	if err != nil {
		return err
	}
	for _, r := range page.Records {
		from, n := binary.Varint(r.Value)
		if n <= 0 || from >= before*samplesPerDay || r.Key == openPrefix+but {
			continue
		}
		_, err := s.Commit(ctx, store.Change{Verb: store.Delete, Key: r.Key, If: r.Revision})
		if err != nil && !errors.Is(err, store.ErrConflict) { // it is back
			return err
		}
	}
	return nil
}
