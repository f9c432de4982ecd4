package storelog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// How many entries that changed nothing wait for the store, how many go into one record, and how often one that
// was refused is tried again.
const (
	maxWaiting = 1024
	maxBatch   = 50
	againEvery = time.Second
)

// Others tells the log of what changed nothing, after the fact: nobody who is refused waits for the store.
type Others struct {
	log     *Log
	now     func() time.Time
	entries chan openimds.AuditEntry
	missed  chan int // has how many found no room, if any did
}

// NewOthers makes one; [Others.Run] has to run for it to do anything. The clock is time.Now unless one is given.
func NewOthers(l *Log, now func() time.Time) *Others {
	if now == nil {
		now = time.Now
	}
	return &Others{log: l, now: now, entries: make(chan openimds.AuditEntry, maxWaiting), missed: make(chan int, 1)}
}

// Tell has entries told. Those that there is no room for, as the store is away, are counted.
func (o *Others) Tell(entries ...openimds.AuditEntry) {
	for _, e := range entries {
		select {
		case o.entries <- e:
		default:
			o.miss(1)
		}
	}
}

func (o *Others) miss(n int) {
	for {
		select {
		case o.missed <- n:
			return
		case before := <-o.missed:
			n += before
		}
	}
}

// lastTime is how long the store may take for what is left at the end.
const lastTime = time.Second

// Run tells the store until the context ends, and then once what is left.
func (o *Others) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			ctx, done := context.WithTimeout(context.WithoutCancel(ctx), lastTime)
			defer done()
			for batch := o.batch(nil); len(batch) > 0 && o.write(ctx, records.NewAuditMark(batch[0].When), batch) == nil; batch = o.batch(nil) {
			}
			return
		case e := <-o.entries:
			o.insist(ctx, o.batch([]openimds.AuditEntry{e}))
		}
	}
}

// batch adds what waits, up to a record's.
func (o *Others) batch(batch []openimds.AuditEntry) []openimds.AuditEntry {
	select {
	case n := <-o.missed:
		batch = append(batch, openimds.AuditEntry{When: o.now().UTC(), Who: "openimds", What: "Refusals",
			Failure: fmt.Sprintf("%d lines of the log of %s could not be told to the store", n, o.log.server)})
	default:
	}
	for len(batch) < maxBatch {
		select {
		case e := <-o.entries:
			batch = append(batch, e)
		default:
			return batch
		}
	}
	return batch
}

// insist writes a batch, again and again until it is there or the context ends, when it is written once more.
func (o *Others) insist(ctx context.Context, batch []openimds.AuditEntry) {
	mark := records.NewAuditMark(batch[0].When)
	for o.write(ctx, mark, batch) != nil {
		select {
		case <-ctx.Done():
			o.Tell(batch...)
			return
		case <-time.After(againEvery):
		}
	}
}

// write writes the record of that mark, unless it is there, as after a try whose answer was lost.
func (o *Others) write(ctx context.Context, mark string, batch []openimds.AuditEntry) error {
	lines, err := o.log.lines(batch)
	if err != nil {
		return nil //nolint:nilerr // it cannot be told at all, now or later
	}
	value, err := records.Encode(told{Lines: lines})
	if err != nil {
		return nil //nolint:nilerr // the same
	}
	_, err = o.log.store.Commit(ctx, store.Change{Verb: store.Put, Key: records.AuditOtherPrefix + mark, Value: value, If: store.IfAbsent})
	if errors.Is(err, store.ErrConflict) {
		return nil
	}
	return err
}
