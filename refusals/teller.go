package refusals

import (
	"context"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

const (
	// lookEvery is how often what was refused is looked at while somebody waits for it. That reads counters in memory.
	lookEvery = 200 * time.Millisecond
	// tellEvery is how often an instance is told of at most: a caller that goes on being refused, as one that an
	// exception names, costs the store a write in so much time.
	tellEvery = time.Second
	// lingers is for how long an instance is told of whose mark is gone: it may have been taken away from this host just
	// when a call was refused, which is counted for a moment longer.
	lingers = 15 * time.Second
)

// TellerConfig is what a [Teller] works with.
type TellerConfig struct {
	// Store has the marks of the instances that this host serves, and maybe of others.
	Store store.Store
	// Counter has what was refused; nil: nothing is counted here.
	Counter openimds.RefusalCounter
	// Tell keeps what is told where those who wait look, and who called before it. The process is not filled in.
	Tell func(ctx context.Context, all []records.Refused) error
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Teller tells what this host refuses to the instances that somebody waits for. While nobody does it waits for a mark, and
// does nothing.
type Teller struct {
	cfg TellerConfig

	mu      sync.Mutex
	watched map[string]*telling // by instance
	wake    chan struct{}       // has one in it when a mark has come
}

// telling is an instance that is told of.
type telling struct {
	mark records.Watched
	gone time.Time // when its mark went; zero: it is there
	told *told     // nil: nothing for this mark
}

// told is what was told last, and when.
type told struct {
	calls openimds.RefusedCalls
	at    time.Time
}

// NewTeller makes one that tells nothing before [Teller.Run].
func NewTeller(cfg TellerConfig) *Teller {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Teller{cfg: cfg, watched: map[string]*telling{}, wake: make(chan struct{}, 1)}
}

// Run follows the marks and tells, until the context ends.
func (t *Teller) Run(ctx context.Context) {
	if t.cfg.Counter == nil {
		return
	}
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() {
		store.Follow(ctx, t.cfg.Store, store.Follower{
			Prefix:  records.WatchedPrefix,
			Listed:  func(_ context.Context, page store.Page) error { t.listed(page.Records); return nil },
			Changed: func(_ context.Context, changes []store.Record) error { t.changed(changes); return nil },
			Log:     t.cfg.Log, Away: "it cannot be followed whose refused calls are waited for",
		})
	})
	for failing := false; ; {
		pause := lookEvery
		all := t.due()
		if len(all) > 0 {
			err := t.cfg.Tell(ctx, all)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				t.note(all)
			default:
				pause = tellEvery
			}
			if err != nil && !failing {
				t.cfg.Log.Warn("calls were refused that somebody waits for, and it cannot be told; trying again", "error", err)
			}
			failing = err != nil
		}
		if !t.sleep(ctx, pause) {
			return
		}
	}
}

// sleep waits for a while if somebody waits for anything, else until somebody does; false: the context has ended.
func (t *Teller) sleep(ctx context.Context, pause time.Duration) bool {
	t.mu.Lock()
	idle := len(t.watched) == 0
	t.mu.Unlock()
	if idle {
		select {
		case <-ctx.Done():
			return false
		case <-t.wake:
			return true
		}
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// listed is told of all marks.
func (t *Teller) listed(all []store.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	there := map[string]bool{}
	for _, r := range all {
		there[t.mark(r)] = true
	}
	for instance := range t.watched {
		if !there[instance] {
			t.mark(store.Record{Key: records.WatchedKey(instance)})
		}
	}
}

func (t *Teller) changed(all []store.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range all {
		t.mark(r)
	}
}

// mark takes note of a mark that has come or gone, and returns whose it is. t.mu is held.
func (t *Teller) mark(r store.Record) (instance string) {
	instance = strings.TrimPrefix(r.Key, records.WatchedPrefix)
	known := t.watched[instance]
	if r.Value == nil {
		if known != nil && known.gone.IsZero() {
			known.gone = t.cfg.Now()
		}
		return instance
	}
	mark, err := records.Decode[records.Watched](r)
	if err != nil {
		t.cfg.Log.Error("it cannot be read who waits for an instance's refused calls; they are not told", "instance", instance, "error", err)
		return instance
	}
	if known != nil && known.mark == mark {
		known.gone = time.Time{}
		return instance
	}
	t.watched[instance] = &telling{mark: mark}
	select {
	case t.wake <- struct{}{}:
	default:
	}
	return instance
}

// due is what is to be told now.
func (t *Teller) due() (all []records.Refused) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now()
	for instance, of := range t.watched {
		calls, known := t.cfg.Counter.RefusedCalls(of.mark.InstanceID)
		if !of.gone.IsZero() && (!known || now.Sub(of.gone) >= lingers) {
			delete(t.watched, instance)
			continue
		}
		if !known || of.told != nil && (now.Sub(of.told.at) < tellEvery && now.After(of.told.at) || reflect.DeepEqual(of.told.calls, calls)) {
			continue
		}
		all = append(all, records.Refused{Instance: instance, InstanceID: of.mark.InstanceID, Watch: of.mark.ID, At: now.UTC(), RefusedCalls: calls})
	}
	return all
}

// note notes what was told.
func (t *Teller) note(all []records.Refused) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, one := range all {
		if of := t.watched[one.Instance]; of != nil && of.mark.ID == one.Watch {
			of.told = &told{one.RefusedCalls, one.At}
		}
	}
}
