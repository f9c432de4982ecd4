package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
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
	// store had something new, and the engine had not, when the process ended. To say something twice changes nothing.
	againFrom = 12
	// tooOldAfter is how old samples are that may be refused for their age, many at once.
	tooOldAfter = time.Hour
)

// toldKey has the writer's name and how far it has told, in the history's store.
const toldKey = "usage/engine"

// told is that record.
type told struct {
	Name    string `json:"name"`
	Through int64  `json:"through"` // all samples before this one were told
}

// WriterConfig is what a [Writer] works with.
type WriterConfig struct {
	// URL takes remote write.
	URL    string
	Access Access
	// Store is the history's own.
	Store store.Store
	// Installation and Host are labels of all series: what the histories that are read together have in common, and
	// whose this one is.
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
	revision int64 // of the record
	ready    bool  // what the store had at the start is owed

	refused  atomic.Uint64
	finished atomic.Int64 // when the engine had been told all, in Unix nanoseconds
}

// owed is what is to be told of an instance's day.
type owed struct {
	due     slots
	watched slots     // those that the engine knows to be there
	marks   int       // how often some was marked
	news    bool      // something was marked since it was told
	told    int64     // the sample that was told last while it was under way
	at      time.Time // when
}

// slots are samples of a day, a bit each.
type slots [(samplesPerDay + 63) / 64]uint64

func (s *slots) has(at int64) bool { return s[at/64]&(1<<(at%64)) != 0 }
func (s *slots) set(at int64)      { s[at/64] |= 1 << (at % 64) }
func (s *slots) clear(at int64)    { s[at/64] &^= 1 << (at % 64) }

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
	r, err := w.cfg.Store.Get(ctx, toldKey)
	if err == nil {
		var t told
		if err := json.Unmarshal(r.Value, &t); err != nil || t.Name == "" {
			return fmt.Errorf("record %s is damaged; delete it", toldKey)
		}
		w.name, w.through, w.revision = t.Name, t.Through, r.Revision
		return nil
	}
	if !errors.Is(err, store.ErrNoRecord) {
		return err
	}
	w.name = NewName()
	return w.save(ctx, 0)
}

// Told says whether an engine was told what a store has, as one does that was copied from where it was a history's own.
func Told(ctx context.Context, s store.Store) (bool, error) {
	_, err := s.Get(ctx, toldKey)
	if errors.Is(err, store.ErrNoRecord) {
		return false, nil
	}
	return err == nil, err
}

// NewName is a name that nobody else has.
func NewName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// save writes down how far the writer has come.
func (w *Writer) save(ctx context.Context, through int64) error {
	value, err := json.Marshal(told{w.name, through})
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
		w.through, w.revision = through, revision
	}
	return err
}

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
		o.news = true
	}
	w.mu.Unlock()
	select {
	case w.news <- struct{}{}:
	default:
	}
}

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

// tell tells the engine what is owed, oldest first; all: what is under way too, however lately it was told.
func (w *Writer) tell(ctx context.Context, all bool) error {
	select {
	case w.telling <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-w.telling }()
	if !w.ready {
		if err := w.source.EachStored(ctx, w.through-againFrom, w.Kept); err != nil {
			return err
		}
		w.ready = true
	}
	now := w.cfg.Now()
	w.mu.Lock()
	days := make([]int64, 0, len(w.owed))
	for day := range w.owed {
		days = append(days, day)
	}
	w.mu.Unlock()
	slices.Sort(days)
	refusals := &refusals{}
	defer refusals.tell(w.cfg.Log)
	for _, day := range days {
		if err := w.tellDay(ctx, day, now, all, refusals); err != nil {
			return err
		}
	}
	if err := w.advance(ctx, sampleNumber(now.Add(-closedAfter))); err != nil {
		return err
	}
	w.finished.Store(now.UnixNano())
	return nil
}

// part is what is told of an instance's day at once.
type part struct {
	instanceID string
	due        slots
	marks      int
	watched    []int64 // told to be there
	closed     []int64 // told for good
	open       int64   // told while under way; -1: none is
}

// tellDay tells what is owed of a day.
func (w *Writer) tellDay(ctx context.Context, day int64, now time.Time, all bool, refusals *refusals) error {
	var parts []part
	w.mu.Lock()
	for id, o := range w.owed[day] {
		parts = append(parts, part{instanceID: id, due: o.due, marks: o.marks, open: -1})
	}
	w.mu.Unlock()
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.instanceID, b.instanceID) })
	var points []point
	from := 0
	for i := range parts {
		more, err := w.points(ctx, day, &parts[i], now, all)
		if err != nil {
			return err
		}
		points = append(points, more...)
		if len(points) < oncePoints && i < len(parts)-1 {
			continue
		}
		for chunk := range slices.Chunk(points, oncePoints) {
			if err := w.send(ctx, chunk, now, refusals); err != nil {
				return err
			}
		}
		w.settle(day, parts[from:i+1], now)
		points, from = points[:0], i+1
	}
	return nil
}

// points are those that are to be told of an instance's day.
func (w *Writer) points(ctx context.Context, day int64, p *part, now time.Time, all bool) ([]point, error) {
	closed := sampleNumber(now.Add(-closedAfter)) // those before are
	due := func(n int64) bool { return p.due.has(n - day*samplesPerDay) }
	w.mu.Lock()
	o := *w.owed[day][p.instanceID]
	w.mu.Unlock()
	wanted := false // of what is under way there may be nothing to tell, as mostly
	for n := day * samplesPerDay; n < (day+1)*samplesPerDay && !wanted; n++ {
		wanted = due(n) && (n < closed || o.wants(n, now, all))
	}
	if !wanted {
		return nil, nil
	}
	stored, err := w.source.StoredDay(ctx, p.instanceID, day)
	if err != nil {
		w.cfg.Log.Warn("samples cannot be read, and are not told to the engine of the metrics", "error", err)
		for n := day * samplesPerDay; n < min((day+1)*samplesPerDay, closed); n++ {
			p.closed = append(p.closed, n)
		}
		return nil, ctx.Err()
	}
	for n := day * samplesPerDay; n < min((day+1)*samplesPerDay, closed); n++ {
		if due(n) { // be it that the store has it no more
			p.closed = append(p.closed, n)
		}
	}
	var points []point
	for _, s := range stored {
		if s.Number >= closed && due(s.Number) && o.wants(s.Number, now, all) {
			p.open = max(p.open, s.Number)
		}
		if due(s.Number) && !o.watched.has(s.Number-day*samplesPerDay) && (s.Number < closed || o.wants(s.Number, now, all)) {
			points = append(points, point{p.instanceID, "", s.Number, watched(s.Number), 1})
			p.watched = append(p.watched, s.Number)
		}
	}
	for m, metric := range openimds.Metrics() {
		for _, s := range stored {
			if !due(s.Number) || s.Counts[m] == 0 {
				continue
			}
			one := point{p.instanceID, metric, s.Number, final(s.Number, s.Counts[m]), s.Counts[m]}
			if s.Number >= closed {
				if !o.wants(s.Number, now, all) {
					continue
				}
				one.milliseconds = underWay(s.Number, now.UnixMilli()-s.Number*periodMillis)
			}
			points = append(points, one)
		}
	}
	return points, nil
}

// wants says whether a sample that is under way is to be told now.
func (o *owed) wants(number int64, now time.Time, all bool) bool {
	return o.news && (all || o.told != number || now.Sub(o.at).Abs() >= againAfter)
}

// settle notes what was told of a day's instances.
func (w *Writer) settle(day int64, parts []part, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range parts {
		o := w.owed[day][p.instanceID]
		for _, n := range p.watched {
			o.watched.set(n - day*samplesPerDay)
		}
		if p.open >= 0 {
			o.told, o.at = p.open, now
		}
		if o.marks != p.marks {
			continue // something is new since, and is told next
		}
		if p.open >= 0 {
			o.news = false
		}
		for _, n := range p.closed {
			o.due.clear(n - day*samplesPerDay)
		}
		if o.due == (slots{}) {
			delete(w.owed[day], p.instanceID)
		}
	}
	if len(w.owed[day]) == 0 {
		delete(w.owed, day)
	}
}

// advance writes down how far the writer has come, which is at most to the sample of that number.
func (w *Writer) advance(ctx context.Context, through int64) error {
	w.mu.Lock()
	for day, instances := range w.owed {
		for _, o := range instances {
			for at := range samplesPerDay {
				if o.due.has(at) {
					through = min(through, day*samplesPerDay+at)
					break
				}
			}
		}
	}
	w.mu.Unlock()
	if through == w.through {
		return nil
	}
	if err := w.save(ctx, through); err != nil {
		return fmt.Errorf("how far the engine of the metrics was told cannot be stored: %w", err)
	}
	return nil
}

// refusals are the values that the engine refused for good.
type refusals struct {
	n   int
	why error
}

func (r *refusals) tell(log *slog.Logger) {
	if r.n > 0 {
		log.Warn("the engine of the metrics refused values for good: of their time only this host's own history tells; the engine must take samples that are out of order and late", "values", r.n, "error", r.why)
	}
}

// send has the engine take the points. Those that it refuses for good are found and left out, so that they do not hold up
// the others.
func (w *Writer) send(ctx context.Context, points []point, now time.Time, refusals *refusals) error {
	err := w.post(ctx, points)
	if !isRefusal(err) {
		return err
	}
	refuse := func(n int) error {
		w.refused.Add(uint64(n))
		refusals.n, refusals.why = refusals.n+n, err
		return nil
	}
	if len(points) == 1 {
		return refuse(1)
	}
	if len(points) > 2 {
		tooOld, err := w.tooOld(ctx, points, now)
		if err != nil {
			return err
		}
		if tooOld {
			return refuse(len(points))
		}
	}
	for half := range slices.Chunk(points, (len(points)+1)/2) {
		if err := w.send(ctx, half, now, refusals); err != nil {
			return err
		}
	}
	return nil
}

// tooOld says whether all of the points are old, and the engine refuses each of them that it is asked: the oldest, the
// latest, and one of those between.
func (w *Writer) tooOld(ctx context.Context, points []point, now time.Time) (bool, error) {
	byTime := func(a, b point) int { return cmp.Compare(a.milliseconds, b.milliseconds) }
	latest := slices.MaxFunc(points, byTime)
	if now.Sub(time.UnixMilli(latest.milliseconds)) < tooOldAfter {
		return false, nil
	}
	for _, p := range []point{latest, points[len(points)/2], slices.MinFunc(points, byTime)} {
		if err := w.post(ctx, []point{p}); !isRefusal(err) {
			return false, err
		}
	}
	return true, nil
}

// isRefusal says whether the engine will never take what it was sent.
func isRefusal(err error) bool {
	s, ok := errors.AsType[*statusError](err)
	return ok && (s.status == http.StatusBadRequest || s.status == http.StatusUnprocessableEntity)
}

func (w *Writer) post(ctx context.Context, points []point) error {
	ctx, done := context.WithTimeout(ctx, tellTimeout)
	defer done()
	answer, err := w.caller.post(ctx, w.cfg.URL, http.Header{
		"Content-Encoding": {"snappy"}, "Content-Type": {"application/x-protobuf"}, "X-Prometheus-Remote-Write-Version": {"0.1.0"},
	}, bytes.NewReader(w.encode(points)))
	if err != nil {
		return err
	}
	return answer.Close()
}
