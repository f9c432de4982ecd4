package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/usage/history"
)

const (
	// tellEvery is how often it is looked whether there is something to tell; what is new is told sooner.
	tellEvery = 5 * time.Second
	// gatherTime is how long the rest of a flush is waited for once it has begun.
	gatherTime = 100 * time.Millisecond
	// againAfter is how long a period under way is told no more of an instance than it was.
	againAfter = 15 * time.Second
	// closedAfter is how long after its end a period is taken to have come to what it is; a later count is told later.
	closedAfter = 10 * time.Second
	// oncePoints is how many values one request has at most, as much as engines expect.
	oncePoints = 2000
	// tellTimeout is how long the engine may take for one request.
	tellTimeout = 30 * time.Second
	// firstPause is how long an engine that failed is left alone; doubled each time, up to lastPause.
	firstPause = time.Second
	lastPause  = time.Minute
	// againFrom is how many samples before the first that was not told are told again after a restart: those of which the
	// store had something new, and the engine had not, when the process ended. To say something twice changes nothing of what is read.
	againFrom = 12
	// tooOldAfter is how old samples are that may be refused for their age, many at once.
	tooOldAfter = time.Hour
)

// toldKey has the writer's name and how far it has told, in the history's store.
const toldKey = "usage/engine"

// told is that record.
type told struct {
	Name    string `json:"name"`
	Through int64  `json:"through"` // all samples before this one were told, or will never be
	// Lost is the first that will never be, for as long as single samples are kept; 0: none.
	Lost int64 `json:"lost,omitempty"`
}

// before is the first sample that the engine may not have.
func (t told) before() int64 {
	if t.Lost != 0 {
		return min(t.Lost, t.Through)
	}
	return t.Through
}

// WriterConfig is what a [Writer] works with.
type WriterConfig struct {
	// URL takes remote write.
	URL    string
	Access Access
	// Store is the history's own.
	Store store.Store
	// Installation and Host are labels of all series: what the histories that are read together have in common, and
	// whose this one is. Who is told the first one later tells it by [Writer.Label].
	Installation, Host string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	Log *slog.Logger
}

// Writer tells an engine what a history has in its store, all of it, and again after every outage: it remembers there how
// far it has come.
type Writer struct {
	cfg    WriterConfig
	caller *caller
	name   string
	source *history.History

	failing bool // Run's alone

	mu   sync.Mutex
	owed map[int64]map[string]*owed // by day and instance
	news chan struct{}

	telling  chan struct{} // one tells at a time, who has what is below
	through  int64
	lost     int64
	revision int64 // of the record
	ready    bool  // what the store had at the start is owed

	before   atomic.Int64 // as in the store
	refused  atomic.Uint64
	finished atomic.Int64 // when the engine had been told all, in Unix nanoseconds
}

// OpenWriter makes a writer; its name is the store's, and made for a new one. [Writer.Run] has it tell.
func OpenWriter(ctx context.Context, cfg WriterConfig) (*Writer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	caller, err := cfg.Access.caller()
	if err != nil {
		return nil, err
	}
	w := &Writer{cfg: cfg, caller: caller, owed: map[int64]map[string]*owed{}, news: make(chan struct{}, 1), telling: make(chan struct{}, 1)}
	return w, w.open(ctx)
}

// open finds the writer's record, or makes it.
func (w *Writer) open(ctx context.Context) error {
	t, revision, err := read(ctx, w.cfg.Store)
	if err != nil {
		return err
	}
	if t.Name != "" {
		w.name, w.through, w.lost, w.revision = t.Name, t.Through, t.Lost, revision
		w.before.Store(t.before())
		return nil
	}
	w.name = NewName()
	return w.save(ctx, 0, 0)
}

// read finds a writer's record; the zero one: there is none.
func read(ctx context.Context, s store.Store) (t told, revision int64, err error) {
	r, err := s.Get(ctx, toldKey)
	if errors.Is(err, store.ErrNoRecord) {
		return t, 0, nil
	}
	if err != nil {
		return t, 0, err
	}
	if err := json.Unmarshal(r.Value, &t); err != nil || t.Name == "" {
		return told{}, 0, fmt.Errorf("record %s is damaged; delete it", toldKey)
	}
	return t, r.Revision, nil
}

// Told says whether an engine was told what a store has, as one does that was copied from where it was a history's own, and
// before which sample it was told all, as [Writer.Before].
func Told(ctx context.Context, s store.Store) (before int64, is bool, err error) {
	t, _, err := read(ctx, s)
	return t.before(), t.Name != "", err
}

// NewName is a name that nobody else has.
func NewName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// save writes down how far the writer has come.
func (w *Writer) save(ctx context.Context, through, lost int64) error {
	t := told{w.name, through, lost}
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	revision, err := w.cfg.Store.Commit(ctx, store.Change{Verb: store.Put, Key: toldKey, Value: value, If: w.revision})
	if errors.Is(err, store.ErrConflict) { // an attempt without an outcome was carried out
		var r store.Record
		if r, err = w.cfg.Store.Get(ctx, toldKey); err == nil {
			w.revision = r.Revision // for the next time
		}
		return err
	}
	if err == nil {
		w.through, w.lost, w.revision = through, lost, revision
		w.before.Store(t.before())
	}
	return err
}

// Before is the number of a sample: the engine has all before that one, but for what was counted of them later.
func (w *Writer) Before() int64 { return w.before.Load() }

// Name is what the writer calls its history.
func (w *Writer) Name() string { return w.name }

// Refused is how many values the engine refused for good.
func (w *Writer) Refused() uint64 { return w.refused.Load() }

// Through is when the engine had been told last all that there was to tell; the zero time: not since the start.
func (w *Writer) Through() time.Time {
	if at := w.finished.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// Kept notes that the store has samples, to be told. It is for [history.Config], and waits for nothing but memory.
func (w *Writer) Kept(instanceID string, numbers []int64) {
	if len(numbers) == 0 {
		return
	}
	w.mu.Lock()
	for _, n := range numbers {
		day := n / samplesPerDay
		instances := w.owed[day]
		if instances == nil {
			instances = map[string]*owed{}
			w.owed[day] = instances
		}
		o := instances[instanceID]
		if o == nil {
			o = &owed{}
			instances[instanceID] = o
		}
		o.due.set(n - day*samplesPerDay)
		o.marks++
		o.news.set(n - day*samplesPerDay)
	}
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// Label says what the histories that are read together have in common. It is called before Run.
func (w *Writer) Label(installation string) { w.cfg.Installation = installation }

// From says which history it is, whose Config has the writer's Name and Kept. It is called before Run.
func (w *Writer) From(source *history.History) { w.source = source }

// Run tells the engine what the history keeps until the context ends. Call [Writer.Close] after it.
func (w *Writer) Run(ctx context.Context) {
	pause := time.Duration(0)
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.newsUnless(pause > 0):
			if !wait(ctx, gatherTime) {
				return
			}
		case <-tick.C:
		}
		err := w.tell(ctx, false)
		if ctx.Err() != nil {
			return
		}
		w.note(err)
		next := tellEvery
		if err == nil {
			pause = 0
		} else {
			pause = min(max(2*pause, firstPause), lastPause)
			next = pause/2 + mathrand.N(pause) // so that a fleet does not come back all at once
			if s, ok := errors.AsType[*statusError](err); ok {
				next = max(next, s.after)
			}
		}
		tick.Reset(next)
	}
}

// newsUnless is told of news, unless the engine is left alone.
func (w *Writer) newsUnless(alone bool) <-chan struct{} {
	if alone {
		return nil
	}
	return w.news
}

func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// note logs the beginning and the end of an outage.
func (w *Writer) note(err error) {
	switch {
	case err != nil && !w.failing:
		w.cfg.Log.Warn("the engine of the metrics is not told what is counted; it is told later", "error", err)
	case err == nil && w.failing:
		w.cfg.Log.Info("the engine of the metrics is told again what is counted")
	}
	w.failing = err != nil
}

// Close tells the engine all that it was not told yet. What it does not take in time is told after the next start.
func (w *Writer) Close(ctx context.Context) error {
	return w.tell(ctx, true)
}
