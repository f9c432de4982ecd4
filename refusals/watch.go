package refusals

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

const (
	// leaseTime is how long marks outlast whoever waits and is gone without a word.
	leaseTime = 30 * time.Second
	// keepEvery is how often the lease is kept alive and what nobody waits for any more is let go of, and wantedFor how
	// long after the last question somebody is taken to wait.
	keepEvery = 10 * time.Second
	wantedFor = 30 * time.Second
	// loadsAtOnce is how many instances are read at the same time.
	loadsAtOnce = 16
)

// WatchConfig is what a [Watch] works with.
type WatchConfig struct {
	Store store.Store
	// Find returns the id of the instance of that name; empty: there is none.
	Find func(ctx context.Context, name string) (id string, err error)
	// Host is the name of this process's host, and Counter what is refused here; nil: nothing is counted here.
	Host    string
	Counter openimds.RefusalCounter
	// HostTTL is how long a host that is gone is taken to be there.
	HostTTL time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Watch waits for the refused calls of instances, whichever hosts serve them. Of an instance that nobody but this process
// serves it reads counters in memory; of others, it knows from the store's changes what their hosts have told. It is safe for use by
// many goroutines.
type Watch struct {
	cfg WatchConfig

	mu        sync.Mutex
	following bool // what is known of an instance is so until a change of it is told
	known     map[string]*instance
	news      chan struct{} // closed and replaced at each change

	leasing sync.Mutex
	lease   store.Lease
}

// NewWatch makes one that reads all it is asked for until [Watch.Run] follows the store.
func NewWatch(cfg WatchConfig) *Watch {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Watch{cfg: cfg, known: map[string]*instance{}, news: make(chan struct{})}
}

// instance is what is known of one; under the watch's mu, but for what load reads.
type instance struct {
	wanted  time.Time // when somebody last waited for it; zero: nobody has
	changes int       // that were told of it
	read    int       // changes as of which it was read; -1: it was not
	state   state
}

// Run follows the store, and keeps alive what somebody waits for, until the context ends.
func (w *Watch) Run(ctx context.Context, log *slog.Logger) {
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() {
		store.Follow(ctx, w.cfg.Store, store.Follower{
			Unread:  true,
			Listed:  func(context.Context, store.Page) error { w.listed(); return nil },
			Changed: func(_ context.Context, changes []store.Record) error { w.changed(changes); return nil },
			Log:     log, Away: "what hosts tell of refused calls cannot be followed",
		})
	})
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			w.resign(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		}
		if err := w.keep(ctx); err != nil && ctx.Err() == nil {
			log.Warn("the marks of whose refused calls are waited for cannot be kept", "error", err)
		}
	}
}

// resign lets go of all marks, so that no host tells what nobody waits for.
func (w *Watch) resign(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, time.Second)
	defer done()
	w.leasing.Lock()
	defer w.leasing.Unlock()
	if w.lease != store.NoLease {
		_ = w.cfg.Store.Revoke(ctx, w.lease) // or it ends by itself
	}
}

// listed has all be read anew, as changes may have been missed.
func (w *Watch) listed() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.following = true
	for _, in := range w.known {
		in.changes++
	}
	w.tell()
}

// concerns is the instance that a record is of, as far as it matters here; empty: it does not.
func concerns(key string) string {
	for _, prefix := range []string{records.RefusedPrefix, records.SeatPrefix, records.WatchedPrefix, records.AttachmentPrefix, records.InstancePrefix} {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			name, _, _ := strings.Cut(rest, "/")
			return name
		}
	}
	return ""
}

func (w *Watch) changed(changes []store.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.known) == 0 {
		return
	}
	news := false
	for _, r := range changes {
		if in := w.known[concerns(r.Key)]; in != nil {
			in.changes++
			news = true
		}
		if host, ok := strings.CutPrefix(r.Key, records.HostPrefix); ok {
			for _, in := range w.known {
				if _, silent := in.state.silent[host]; silent {
					in.changes++
					news = true
				}
			}
		}
	}
	if news {
		w.tell()
	}
}

// tell wakes those who wait. w.mu is held.
func (w *Watch) tell() {
	close(w.news)
	w.news = make(chan struct{})
}

// Look returns what is known of the refused calls of instances, and a channel that is closed by the next change that may
// make it another. Those of this process change without one: where Count.Local is true, look again.
//
// Where waits is true, somebody waits for the instance: its hosts are told to tell, for half a minute from then on.
func (w *Watch) Look(ctx context.Context, of []string, waits func(i int) bool) (counts []Count, news <-chan struct{}, err error) {
	if err := w.answers(ctx); err != nil {
		return nil, nil, err
	}
	w.mu.Lock()
	for _, name := range of {
		if in := w.known[name]; in != nil && !w.following {
			in.changes++
		}
	}
	w.mu.Unlock()
	return w.LookAgain(ctx, of, waits)
}

// LookAgain is Look of who has just looked: the store is not asked whether it is there.
func (w *Watch) LookAgain(ctx context.Context, of []string, waits func(i int) bool) (counts []Count, news <-chan struct{}, err error) {
	w.mu.Lock()
	now := w.cfg.Now()
	news = w.news
	for i, name := range of {
		in := w.known[name]
		if in == nil {
			in = &instance{read: -1}
			w.known[name] = in
		}
		if in.wanted.Before(now) && (waits(i) || in.wanted.IsZero()) {
			in.wanted = now
		}
	}
	w.mu.Unlock()
	if err := w.load(ctx, of); err != nil {
		return nil, nil, err
	}
	if err := w.mark(ctx, of, waits); err != nil {
		return nil, nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range of {
		in := w.known[name]
		if in == nil { // it was let go of meanwhile
			in = &instance{}
		}
		counts = append(counts, w.count(&in.state))
	}
	return counts, news, nil
}

// answers says whether the store is there: what was known of it when it was says nothing of now.
func (w *Watch) answers(ctx context.Context) error {
	_, err := w.cfg.Store.Get(ctx, records.LayoutKey)
	if errors.Is(err, store.ErrNoRecord) {
		return nil
	}
	return err
}
