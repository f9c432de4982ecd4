package hostlink

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// pushedKey is where it is noted up to which revision of the host's own store replicas have what was counted, and
// elsewhereKey where it stands that they are told no samples, as they ask an engine of metrics.
const (
	pushedKey    = "pushed"
	elsewhereKey = "elsewhere"
)

// elsewhere is that record.
type elsewhere struct {
	TakenBack bool `json:"takenBack"` // the replicas have none that they were told before
	// Mark is what the host's own was when it heard of that.
	Mark []byte `json:"mark,omitempty"`
}

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
	// Tells says that this host tells the engine that the replicas ask, if they do. EngineMark makes its mark then, which says
	// from which sample on there may be more than the engine has, of what its own was when it heard of that.
	Tells      bool
	EngineMark func(began []byte) []byte
	Log        *slog.Logger

	dirty map[string]bool
	upTo  int64 // the revision that dirty is of
	// mark is the value that replicas have of it, if that is known; empty: none.
	mark   []byte
	marked bool
	// engine says that samples are asked of an engine, and takenBack is closed once the replicas have none that it is told.
	engine    bool
	began     []byte // elsewhere's Mark
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
	c.marked = false
	if err := c.ask(ctx, Counted{c.Mark, mark}); err != nil {
		return err
	}
	c.mark, c.marked = mark, true
	return nil
}

// settle has the replicas told of samples, or not, as they ask an engine: what this host tells that is taken back first, or
// it would count twice.
func (c *Counts) settle(ctx context.Context, about About) error {
	r, err := c.Store.Get(ctx, elsewhereKey)
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		return err
	}
	was, now := elsewhere{}, elsewhere{}
	if r.Value != nil {
		if was, err = records.Decode[elsewhere](r); err != nil {
			return err
		}
	}
	c.engine = about.Installation != ""
	if !c.engine {
		if r.Value == nil {
			return nil
		}
		return c.tellAgain(ctx, r.Revision)
	}
	if now.Mark = was.Mark; now.Mark == nil {
		own, err := c.ownMark(ctx)
		if err != nil {
			return err
		}
		now.Mark = own
	}
	c.began = now.Mark
	if now.TakenBack = was.TakenBack || c.Tells; now.TakenBack && !was.TakenBack {
		if err := c.takeBack(ctx, about.EngineMarks); err != nil {
			return err
		}
	}
	if r.Value == nil || now.TakenBack != was.TakenBack || !bytes.Equal(now.Mark, was.Mark) {
		value, err := records.Encode(now)
		if err != nil {
			return err
		}
		if _, err := c.Store.Commit(ctx, store.Change{Verb: store.Put, Key: elsewhereKey, Value: value, If: r.Revision}); err != nil {
			return err
		}
	}
	maps.DeleteFunc(c.dirty, func(key string, _ bool) bool { return strings.HasPrefix(key, c.Samples) })
	select {
	case <-c.takenBack:
	default:
		if now.TakenBack {
			close(c.takenBack)
		}
	}
	return nil
}

// takeBack has the replicas forget this host's samples, once they have the mark of what the engine has of them: none where
// they take no such mark.
func (c *Counts) takeBack(ctx context.Context, marks bool) error {
	keys, err := c.ownSamples(ctx)
	if err != nil {
		return err
	}
	mark := Counted{Key: c.Mark}
	if marks {
		mark.Value = c.EngineMark(c.began)
	}
	if err := c.ask(ctx, mark); err != nil {
		return err
	}
	for some := range slices.Chunk(keys, MaxCounted) {
		all := make([]Counted, len(some))
		for i, key := range some {
			all[i].Key = key
		}
		if err := c.ask(ctx, all...); err != nil {
			return err
		}
	}
	return nil
}

// tellAgain has the replicas told all samples, where they were told none for a time.
func (c *Counts) tellAgain(ctx context.Context, revision int64) error {
	keys, err := c.ownSamples(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		c.dirty[key] = true
	}
	if err := c.pushCounted(ctx); err != nil {
		return err
	}
	_, err = c.Store.Commit(ctx, store.Change{Verb: store.Delete, Key: elsewhereKey, If: revision})
	return err
}

// ownSamples are the keys of this host's samples.
func (c *Counts) ownSamples(ctx context.Context) (keys []string, err error) {
	page, err := c.Store.List(ctx, store.Range{Prefix: c.Samples, KeysOnly: true})
	for _, r := range page.Records {
		if strings.HasSuffix(r.Key, "/"+c.Host) {
			keys = append(keys, r.Key)
		}
	}
	return keys, err
}

// anotherMark is the mark as it is now, and whether the replicas are to be told of it.
func (c *Counts) anotherMark(ctx context.Context) (value []byte, another bool, err error) {
	about, _ := c.About()
	switch {
	case c.engine && about.EngineMarks:
		value = c.EngineMark(c.began)
	case c.engine || !about.Marks:
		c.marked = false // who takes it then does not have it
		return nil, false, nil
	default:
		if value, err = c.ownMark(ctx); err != nil {
			return nil, false, err
		}
	}
	return value, !c.marked || !bytes.Equal(value, c.mark), nil
}

// ownMark is the mark that the host has for itself; nil: none.
func (c *Counts) ownMark(ctx context.Context) ([]byte, error) {
	r, err := c.Store.Get(ctx, c.Mark)
	if errors.Is(err, store.ErrNoRecord) {
		return nil, nil
	}
	return r.Value, err
}

// Told has the replicas know, once Run has ended, that the engine that they ask has been told all that this host counted.
func (c *Counts) Told(ctx context.Context) error {
	if about, _ := c.About(); !c.engine || !about.EngineMarks {
		return nil
	}
	return c.ask(ctx, Counted{Key: c.Mark})
}

// ask has a replica keep records.
func (c *Counts) ask(ctx context.Context, all ...Counted) error {
	var a CountsAnswer
	if err := c.Client.call(ctx, PathCounts, CountsRequest{Records: all}, &a); err != nil {
		return err
	}
	if n := len(a.Refused); n > 0 {
		c.Log.Warn("a replica does not keep all that was counted here, of instances that were not this host's then or in a form that it does not take; its audit log says so", "records", n, "first", a.Refused[0])
	}
	return nil
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
		if err := c.ask(ctx, some...); err != nil {
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
