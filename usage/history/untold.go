package history

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
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
	own     string // whose records need no mark
	settled int64  // those from this number on are taken as they are so far
	// former are, by instance, the samples that a host may have counted which has the instance no more: also where it has
	// told nothing of them, what others have of them is not all.
	former map[string][]numbers
	// begun is the sample in which this process began, while what an earlier one counted in it may not be carried over yet.
	begun numbers
}

// numbers are samples from the first up to before the end.
type numbers struct{ first, end int64 }

// marks reads those of all hosts but one, whose own counts need none. They are to be read before the samples: what is
// stored meanwhile may be taken for less than it is, and never for more.
func (h *History) marks(ctx context.Context, s store.Store, but string) (untold, error) {
	u := untold{own: but, settled: sampleNumber(h.cfg.Now().Add(-settledAfter))}
	return u, u.read(ctx, s, but)
}

// read adds the marks in a store of all hosts but one.
func (u *untold) read(ctx context.Context, s store.Store, but string) error {
	page, err := s.List(ctx, store.Range{Prefix: openPrefix})
	for _, r := range page.Records {
		host := r.Key[len(openPrefix):]
		if from, n := binary.Varint(r.Value); n > 0 && host != but {
			if u.from == nil {
				u.from = map[string]int64{}
			}
			u.from[host] = from
		}
	}
	return err
}

// untold are the marks of all hosts but this history's, and of which samples of an instance, or of all if that is empty, a
// host that has it no more has yet to tell.
func (h *History) untold(ctx context.Context, instanceID string) (untold, error) {
	u, err := h.marks(ctx, h.cfg.Store, h.cfg.Host)
	if err == nil && h.cfg.Marks != nil {
		err = u.read(ctx, h.cfg.Marks, keyHost(h.cfg.MarkedAs)+besideEngine)
	}
	if err != nil {
		return u, err
	}
	if h.cfg.Earlier != nil && !h.carried.Load() {
		u.begun = numbers{h.began, h.began + 1}
	}
	if h.cfg.Former == nil {
		return u, nil
	}
	late := map[string]int64{} // by host
	for name, from := range u.from {
		_, beside := u.from[name+besideEngine]
		switch isEngine := strings.HasSuffix(name, besideEngine); {
		case isEngine && h.cfg.Others == nil: // it is of an engine that is not asked
			continue
		case !isEngine && beside && h.cfg.Others != nil: // it is of what was in the store before
			continue
		}
		if host, _, _ := strings.Cut(name, "~"); from < u.settled { // it counts by its name, with a mark for each file behind it
			late[host] = max(late[host], from)
		}
	}
	if len(late) == 0 {
		return u, nil
	}
	all, err := h.cfg.Former(ctx, instanceID)
	if err != nil {
		return u, err
	}
	for _, f := range all {
		from, isLate := late[keyHost(f.Host)]
		if !isLate {
			continue
		}
		n := numbers{max(from, sampleNumber(f.Since)), u.settled}
		if !f.Until.IsZero() {
			n.end = min(n.end, sampleNumber(f.Until)+1)
		}
		if n.first < n.end {
			if u.former == nil {
				u.former = map[string][]numbers{}
			}
			u.former[f.InstanceID] = append(u.former[f.InstanceID], n)
		}
	}
	return u, nil
}

// elsewhere are the samples of an instance's day that others may have counted too; nil: none are.
func (u untold) elsewhere(instanceID string, day int64) *slots {
	var s *slots
	add := func(n numbers) {
		if part := spanOf(day, n.first, n.end); part.first < part.end {
			if s == nil {
				s = &slots{}
			}
			s.add(part.first, part.end)
		}
	}
	add(u.begun)
	for _, n := range u.former[instanceID] {
		add(n)
	}
	return s
}

// span are the samples of a host's day of which not all is known, from first up to before end.
func (u untold) span(host string, day int64) (first, end int) {
	from, open := u.from[host]
	if !open || host == u.own {
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
				part.doubt()
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
