package hostlink

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// pushedKey is where it is noted up to which revision of the host's own store replicas have what was counted.
const pushedKey = "pushed"

// pushEvery is how often what was counted goes to a replica, and pushBytes how much of it at once.
const (
	pushEvery = 5 * time.Second
	pushBytes = 512 << 10
)

// countsPrefix leads what is counted.
const countsPrefix = "usage/"

// Counts carries what this host counts from its own store to the replicas', record by record. A record has all that was
// counted of an instance on a day, and not what came since, so that one that comes late or twice counts once.
type Counts struct {
	Store  store.Store
	Client *Client
	// Host is the name that this host counts by ([CountsName]), which the keys end with of what it has counted by itself.
	Host string
	// Samples and Callers lead those keys. What else is kept beside them is this host's own business.
	Samples, Callers string
	// Mark is the key of the host's mark, which says from which sample on there may be more than the records have that go
	// before it.
	Mark string
	// About says what becomes of what is counted; false: no replica has told yet.
	About func() (About, bool)
	// Tells says that this host tells the engine that the replicas ask, if they do. EngineMark is the key of its mark then, of
	// which Untold makes the value: from which sample on there may be more than the engine has.
	Tells      bool
	EngineMark string
	Untold     func() []byte
	Log        *slog.Logger

	dirty map[string]bool
	upTo  int64 // the revision that dirty is of
	// marked is the mark that replicas have; nil: that is not known.
	marked *Counted
	// engine says that samples are asked of an engine, and takenBack is closed once the replicas have none that it is told.
	engine    bool
	takenBack chan struct{}
}

// NewCounts makes one that [Counts.Run] has carry what is counted.
func NewCounts(c Counts) *Counts {
	c.dirty, c.takenBack = map[string]bool{}, make(chan struct{})
	return &c
}

// TakenBack is closed once the replicas ask an engine for samples, and have none of this host's that would count beside
// those that it tells the engine.
func (c *Counts) TakenBack() <-chan struct{} { return c.takenBack }

// Run carries counts until the context ends, and once more then: as much as goes within last.
func (c *Counts) Run(ctx context.Context, last time.Duration) {
	changes, following := make(chan []store.Record), make(chan struct{})
	followed, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(following)
		c.follow(followed, changes)
	}()
	defer func() { stop(); <-following }()
	tick := time.NewTicker(pushEvery)
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			c.finish(context.WithoutCancel(ctx), last)
			return
		case batch := <-changes:
			c.note(batch)
			continue
		case <-tick.C:
		}
		err := c.push(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			c.Log.Warn("the replicas cannot be told what was counted; it is kept here until they can", "error", err)
		}
		if err == nil && failing {
			c.Log.Info("the replicas know again what was counted")
		}
		failing = err != nil
	}
}

// finish carries what has come last.
func (c *Counts) finish(ctx context.Context, last time.Duration) {
	ctx, done := context.WithTimeout(ctx, last)
	defer done()
	left, err := c.left(ctx)
	if err == nil {
		c.note(left)
		err = c.push(ctx)
	}
	if err != nil {
		c.Log.Info("the last counts stay here until the next start", "error", err)
	}
}

// left are the records that replicas do not have yet.
func (c *Counts) left(ctx context.Context) ([]store.Record, error) {
	pushed, err := c.pushed(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.Store.List(ctx, store.Range{Prefix: countsPrefix, KeysOnly: true})
	return slices.DeleteFunc(all.Records, func(r store.Record) bool { return r.Revision <= pushed }), err
}

// follow passes on what is counted.
func (c *Counts) follow(ctx context.Context, changes chan<- []store.Record) {
	pass := func(batch []store.Record) error {
		select {
		case changes <- batch:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	store.Follow(ctx, c.Store, store.Follower{
		Prefix: countsPrefix, Unread: true,
		Listed: func(ctx context.Context, page store.Page) error {
			left, err := c.left(ctx)
			if err != nil {
				return err
			}
			return pass(left)
		},
		Changed: func(_ context.Context, batch []store.Record) error { return pass(batch) },
		Log:     c.Log, Away: "what was counted cannot be followed",
	})
}

func (c *Counts) pushed(ctx context.Context) (int64, error) {
	r, err := c.Store.Get(ctx, pushedKey)
	if errors.Is(err, store.ErrNoRecord) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return records.Decode[int64](r)
}

func (c *Counts) note(batch []store.Record) {
	for _, r := range batch {
		c.upTo = max(c.upTo, r.Revision)
		isSample := strings.HasPrefix(r.Key, c.Samples)
		if strings.HasSuffix(r.Key, "/"+c.Host) && (isSample && !c.engine || strings.HasPrefix(r.Key, c.Callers)) {
			c.dirty[r.Key] = true
		}
	}
}

// push carries what is known to be counted, and then the mark, if that is another one.
func (c *Counts) push(ctx context.Context) error {
	about, known := c.About()
	if !known {
		return nil
	}
	if err := c.settle(ctx, about); err != nil {
		return err
	}
	mark, another, err := c.anotherMark(ctx)
	if err != nil {
		return err
	}
	if another { // all that was stored before it goes before it
		left, err := c.left(ctx)
		if err != nil {
			return err
		}
		c.note(left)
	}
	if err := c.pushCounted(ctx); err != nil || !another {
		return err
	}
	return c.tellMark(ctx, mark)
}

// ask has a replica keep records, and returns the keys of those that it does not.
func (c *Counts) ask(ctx context.Context, all ...Counted) (refused []string, err error) {
	var a CountsAnswer
	err = c.Client.call(ctx, PathCounts, CountsRequest{Records: all}, &a)
	return a.Refused, err
}

// keep does so, and tells the log of those.
func (c *Counts) keep(ctx context.Context, all ...Counted) error {
	refused, err := c.ask(ctx, all...)
	if err == nil && len(refused) > 0 {
		c.Log.Warn("a replica does not keep all that was counted here, of instances that were not this host's then or in a form that it does not take; its audit log says so", "records", len(refused), "first", refused[0])
	}
	return err
}

// pushCounted carries what is known to be counted.
func (c *Counts) pushCounted(ctx context.Context) error {
	if len(c.dirty) == 0 {
		return nil
	}
	keys := make([]string, 0, len(c.dirty))
	for key := range c.dirty {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var some []Counted
	size := 0
	flush := func() error {
		if len(some) == 0 {
			return nil
		}
		if err := c.keep(ctx, some...); err != nil {
			return err
		}
		for _, r := range some {
			delete(c.dirty, r.Key)
		}
		some, size = nil, 0
		return nil
	}
	for _, key := range keys {
		r, err := c.Store.Get(ctx, key)
		if errors.Is(err, store.ErrNoRecord) { // it was too old to be kept
			delete(c.dirty, key)
			continue
		}
		if err != nil {
			return err
		}
		if size+len(r.Value) > pushBytes || len(some) == MaxCounted {
			if err := flush(); err != nil {
				return err
			}
		}
		some, size = append(some, Counted{key, r.Value}), size+len(r.Value)
	}
	if err := flush(); err != nil {
		return err
	}
	value, err := records.Encode(c.upTo)
	if err != nil {
		return err
	}
	_, err = c.Store.Commit(ctx, store.Change{Verb: store.Put, Key: pushedKey, Value: value, If: store.Whatever})
	return err
}
