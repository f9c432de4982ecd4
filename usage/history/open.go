package history

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/openimds/openimds/store"
)

// openPrefix leads the records of hosts that count: the key goes on with the host, the value is the number of a sample.
// What was counted before that began is in the store. The record is there from when a process begins to count until it
// has ended well: who finds it at the start knows that the one before was killed, and that of the samples from then on
// the last calls are lost. Of those nobody may say that there were none.
const openPrefix = "usage/open/"

// open is what a history knows of its host's record. Who holds History.flushing has it.
type open struct {
	is       bool  // the record was looked at
	known    bool  // revision is the store's
	from     int64 // the sample that the record has; 0: there is no record
	revision int64
	// flushed is the sample in which the flush before this one began: what was counted before is in the store when this
	// one has succeeded. later says that something was written since the record was.
	flushed int64
	later   bool
}

// Open begins to count: from now on a process that is killed leaves the samples marked whose last calls it had not
// flushed. Flush does so where Open could not.
func (h *History) Open(ctx context.Context) error {
	h.flushing.Lock()
	defer h.flushing.Unlock()
	return h.opened(ctx)
}

func (h *History) openKey() string { return openPrefix + h.cfg.Host }

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
			from = now // of another time nothing is known
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

// flushedAll moves the record on when a flush has succeeded that began in a sample: at most once in a sample, and no more
// once there is nothing to be written.
func (h *History) flushedAll(ctx context.Context, began int64, wrote bool) error {
	before := h.open.flushed
	h.open.flushed, h.open.later = began, h.open.later || wrote
	if before <= h.open.from || !h.open.later || !h.open.known {
		return nil
	}
	h.open.later = wrote
	return h.writeOpen(ctx, before)
}

// Close ends what Open began, when the last flush has carried all to the store.
func (h *History) Close(ctx context.Context) error {
	if err := h.Flush(ctx); err != nil {
		return err
	}
	h.flushing.Lock()
	defer h.flushing.Unlock()
	_, err := h.cfg.Store.Commit(ctx, store.Change{Verb: store.Delete, Key: h.openKey(), If: h.open.revision})
	h.open = open{is: true}
	return err
}

// breakSamples marks the samples of which a process that was killed may not have written all: those that it began in, if
// it wrote anything of them, and the present one, which it may have begun without a trace.
func (h *History) breakSamples(ctx context.Context, from, now int64) error {
	var failures []error
	for _, n := range []int64{from, from + 1} {
		if n <= now {
			failures = append(failures, h.breakWritten(ctx, n))
		}
	}
	h.broken.Store(now)
	for j := range h.all {
		j.locked(func() { j.breakOnce(now) })
	}
	h.kept.changed(floorDiv(now, samplesPerDay))
	return errors.Join(failures...)
}

// breakWritten marks a sample of all instances of which this host has written it.
func (h *History) breakWritten(ctx context.Context, n int64) error {
	number, at := floorDiv(n, samplesPerDay), int(n-floorDiv(n, samplesPerDay)*samplesPerDay)
	prefix := samplePrefix + dayText(number) + "/"
	for r := (store.Range{Prefix: prefix, Limit: fleetPage}); ; {
		page, err := h.cfg.Store.List(ctx, r)
		if err != nil {
			return err
		}
		for _, record := range page.Records {
			r.After = record.Key
			id, host := splitDayKey(record.Key[len(prefix):])
			if host != h.cfg.Host {
				continue
			}
			written := false // one that cannot be read is told of elsewhere
			_ = eachRun(record.Value, samplesPerDay, func(first *cell, runs int) {
				written = written || first.at <= at && at < first.at+runs && first.sum[broken] == 0
			})
			if written {
				h.with(id, func(j *journal) { j.breakOnce(n) })
				h.kept.changed(number)
			}
		}
		if !page.More {
			return nil
		}
	}
}

// breakOnce marks a sample, once though it is asked for again; none is asked for after a later one. j.mu is held.
func (j *journal) breakOnce(n int64) {
	if j.broke != n {
		j.broke = n
		j.unsaved(n)[broken]++
	}
}
