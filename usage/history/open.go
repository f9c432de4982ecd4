package history

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/openimds/openimds/store"
)

// openPrefix leads the marks of hosts that count: the key goes on with the host, the value is the number of a sample.
// What was counted before that began is in the store, but for instances whose records fail. The record is there from when a process begins to count until it
// has ended well: who finds it at the start knows that the one before was killed, and that of the samples from then on
// the last calls are lost. Of those nobody may say that there were none.
// Others take those samples for not known as a whole, once they are past.
const openPrefix = MarkPrefix

// MarkPrefix leads the marks of all hosts.
const MarkPrefix = "usage/open/"

// MarkKey is where a host keeps its mark.
func MarkKey(host string) string { return openPrefix + keyHost(host) }

// besideEngine ends the names of the marks beside an engine of metrics.
const besideEngine = "~engine"

// EngineMarkKey is where a host keeps its mark while it is an engine of metrics that has what it counts: of the samples from
// that one on the engine may not have been told all. What MarkKey has is of those that are in the store.
func EngineMarkKey(host string) string { return MarkKey(host) + besideEngine }

// CountsBy is the name that a host counts by whose mark has that name.
func CountsBy(mark string) string { return strings.TrimSuffix(mark, besideEngine) }

// Mark is the value of a mark by which all samples before that number are told, for as long as single samples are kept.
func Mark(from int64, now time.Time) []byte {
	return binary.AppendVarint(nil, max(from, oldest(now)))
}

// open is what a history knows of its host's record. Who holds History.flushing has it.
type open struct {
	is       bool  // the record was looked at
	known    bool  // revision is the store's
	from     int64 // the sample that the record has; 0: there is no record
	revision int64
	// flushed is the sample in which the flush before this one began: what was counted before is in the store when this
	// one has succeeded.
	flushed int64
}

// Open begins to count: from now on a process that is killed leaves the samples marked whose last calls it had not
// flushed. Flush does so where Open could not.
func (h *History) Open(ctx context.Context) error {
	h.flushing.Lock()
	defer h.flushing.Unlock()
	return h.opened(ctx)
}

func (h *History) openKey() string { return MarkKey(h.cfg.Host) }

func (h *History) opened(ctx context.Context) error {
	if h.open.known {
		return nil
	}
	record, err := h.find(ctx, h.openKey())
	if err != nil {
		return err
	}
	now := sampleNumber(h.cfg.Now())
	if !h.open.is && record.Value != nil {
		from, n := binary.Varint(record.Value)
		if n != len(record.Value) || from > now {
			from = now - samplesPerDay // the clock was another one: what the process counted last is looked for in a day
		}
		if err := h.breakSamples(ctx, from, now); err != nil {
			return err
		}
		h.open.from = from // until what was marked is in the store
	}
	h.open.is, h.open.known, h.open.revision = true, true, record.Revision
	if record.Value == nil {
		return h.writeOpen(ctx, now)
	}
	return nil
}

// writeOpen writes the record. Whoever does not know whether it was written looks before the next time.
func (h *History) writeOpen(ctx context.Context, from int64) error {
	revision, err := h.cfg.Store.Commit(ctx, store.Change{Verb: store.Put, Key: h.openKey(), Value: binary.AppendVarint(nil, from), If: h.open.revision})
	if err != nil {
		h.open.known = false
		return fmt.Errorf("record %s: %w", h.openKey(), err)
	}
	h.open.from, h.open.revision = from, revision
	return nil
}

// flushedAll moves the record on when a flush has succeeded that began in a sample: once in a sample, also where nothing is
// counted, as it tells those who have an instance by now that there is nothing more of it here. A clock that is turned back
// moves it back.
func (h *History) flushedAll(ctx context.Context, began int64) error {
	before := h.open.flushed
	h.open.flushed = began
	h.stored.Store(before)
	if began < h.open.from && h.open.known { // the clock was turned back, and counts are of samples before the record's from now on
		return h.writeOpen(ctx, began)
	}
	if before <= h.open.from || !h.open.known {
		return nil
	}
	return h.writeOpen(ctx, before)
}

// StoredBefore is the number of a sample: what was counted before it is in the store, but for what comes late.
func (h *History) StoredBefore() int64 { return h.stored.Load() }

// Close ends what Open began, when the last flush has carried all to the store.
func (h *History) Close(ctx context.Context) error {
	if err := h.Flush(ctx); err != nil {
		return err
	}
	h.stored.Store(math.MaxInt64)
	h.flushing.Lock()
	defer h.flushing.Unlock()
	_, err := h.cfg.Store.Commit(ctx, store.Change{Verb: store.Delete, Key: h.openKey(), If: h.open.revision})
	h.open = open{is: true}
	return err
}

// breakSamples marks the samples of which a process that was killed may not have written all: the last that it wrote of each
// instance and the one before, and the present one, which it may have begun without a trace.
func (h *History) breakSamples(ctx context.Context, from, now int64) error {
	last, err := lastWritten(ctx, h.cfg.Store, h.cfg.Host, from, now)
	for id, numbers := range last {
		for _, n := range numbers {
			h.with(id, func(j *journal) { j.breakOnce(n) })
			h.kept.changed(floorDiv(n, samplesPerDay))
		}
	}
	h.broken.Store(now)
	for j := range h.all {
		j.locked(func() { j.breakOnce(now) })
	}
	h.kept.changed(floorDiv(now, samplesPerDay))
	return err
}

// lastWritten are, by instance, the last samples that a host wrote from one on: of what it counted in those, and in those that
// it has not begun to write, some may be lost. Of a sample before them it wrote again with the last one whatever it had:
// only to the very last before that, calls whose answers took long still come. from may be long ago, where one
// instance's record could not be written, and those of others could. Samples that are marked are left out.
func lastWritten(ctx context.Context, s store.Store, host string, from, now int64) (map[string][]int64, error) {
	type written struct {
		last                 int64
		lastWhole, prevWhole bool // not marked: it, and the one before it, which there is
	}
	all := map[string]written{}
	for number := floorDiv(from, samplesPerDay); number <= floorDiv(now, samplesPerDay); number++ {
		prefix := samplePrefix + dayText(number) + "/"
		for r := (store.Range{Prefix: prefix, Limit: fleetPage}); ; {
			page, err := s.List(ctx, r)
			if err != nil {
				return nil, err
			}
			for _, record := range page.Records {
				r.After = record.Key
				id, of := splitDayKey(record.Key[len(prefix):])
				if of != host {
					continue
				}
				// One that cannot be read is told of elsewhere.
				_ = eachRun(record.Value, samplesPerDay, func(c *cell, n int) {
					first, end := max(number*samplesPerDay+int64(c.at), from), number*samplesPerDay+int64(c.at+n)
					if first >= end {
						return
					}
					was, isWhole := all[id], c.sum[broken] == 0
					all[id] = written{end - 1, isWhole, end-first > 1 && isWhole || end-first == 1 && was.lastWhole && was.last == first-1}
				})
			}
			if !page.More {
				break
			}
		}
	}
	last := make(map[string][]int64, len(all))
	for id, w := range all {
		if w.prevWhole {
			last[id] = append(last[id], w.last-1)
		}
		if w.lastWhole {
			last[id] = append(last[id], w.last)
		}
	}
	return last, nil
}

// breakOnce marks a sample, once though it is asked for again; none is asked for after a later one. j.mu is held.
func (j *journal) breakOnce(n int64) {
	if j.broke != n {
		j.broke = n
		j.unsaved(n)[broken]++
	}
}
