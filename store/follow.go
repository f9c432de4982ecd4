package store

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// How long [Follow] waits before it asks a store again that is away: twice as long each time, up to the
// last. One that could be followed for steady is asked as soon as one that never failed.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
	steady     = time.Minute
)

// A Follower is kept in step with the records of a store by [Follow]. It is called from one goroutine. An
// error of Listed or Changed means that the store is away, and is treated like the store's own.
type Follower struct {
	// Prefix that the keys of the records have.
	Prefix string
	// Unread leaves the records out of listings, for a follower that needs only their revision and reads what it
	// needs another way: then a damaged record does not keep it from following.
	Unread bool
	// Listed is told what there is: at the start, and again whenever changes may have been missed. What a
	// follower that is not Unread knew, and does not find there, was deleted meanwhile.
	Listed func(ctx context.Context, page Page) error
	// Changed is told what was changed since then: at least one record, of whole commits, in the order of
	// their revisions, each once.
	Changed func(ctx context.Context, records []Record) error
	// Log gets a line for each failure. Away is its text: what cannot be done, and what goes on meanwhile.
	Log  *slog.Logger
	Away string
}

// Follow keeps f in step with a store until the context ends or the store is closed. While the store is
// away f is told nothing, so that it keeps what it knew last; afterwards the records are listed again.
func Follow(ctx context.Context, s Store, f Follower) {
	for pause := firstPause; ctx.Err() == nil; {
		started := time.Now()
		err := follow(ctx, s, f)
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return
		}
		if errors.Is(err, ErrCompacted) {
			f.Log.Info("the watch fell behind the store's history; listing again", "prefix", f.Prefix)
			continue
		}
		if time.Since(started) > steady {
			pause = firstPause
		}
		f.Log.Warn(f.Away, "error", err, "retry", pause)
		// Jitter, so that the hosts of a fleet do not all come back at the same moment.
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, lastPause)
	}
}

// follow lists once and then tells of changes until something fails.
func follow(ctx context.Context, s Store, f Follower) error {
	listed := Range{Prefix: f.Prefix}
	if f.Unread {
		listed.After = f.Prefix + "\xff" // no text has this byte, so no key comes after it
	}
	page, err := s.List(ctx, listed)
	if err != nil {
		return err
	}
	watch := s.Watch(f.Prefix, page.Revision)
	if err := f.Listed(ctx, page); err != nil {
		return err
	}
	for {
		records, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		if err := f.Changed(ctx, records); err != nil {
			return err
		}
	}
}
