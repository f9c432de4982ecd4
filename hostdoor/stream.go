package hostdoor

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// maxQueued is how many things a stream may be behind; a host that is slower asks for all anew.
const maxQueued = 20_000

// stream tells one host of what it serves.
type stream struct {
	door *Door
	host string

	mu     sync.Mutex
	queue  [][]*item
	queued int
	wake   chan struct{}
	ended  chan struct{} // closed when it is to end
	why    string        // set before

	void <-chan struct{} // closed when the host is evicted

	// What the host was told of each instance, by name; only the stream's goroutine has to do with it.
	told map[*index]map[string]toldOf
	tags tagger
	// marks are the revisions of those that the host has of its instances whose refused calls somebody waits for.
	marks map[*index]map[string]int64
	// through has, by region, the revision up to which the index had passed on all when the stream began to be told.
	through map[string]int64
}

// toldOf is what a host was told of one instance: the revisions of its records, and the key of its recording.
type toldOf struct {
	record, attachment int64
	recording          string
}

// push has the stream tell of things. The index's lock is held: nobody is waited for.
func (s *stream) push(batch []*item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued += len(batch); s.queued > maxQueued {
		s.endLocked("the host does not keep up")
		return
	}
	s.queue = append(s.queue, batch)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be told, in its order.
func (s *stream) take() [][]*item {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.queue
	s.queue, s.queued = nil, 0
	return all
}

// end ends the stream; the host comes back by itself.
func (s *stream) end(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(why)
}

func (s *stream) endLocked(why string) {
	if s.why == "" {
		s.why = why
		close(s.ended)
	}
}

// admit takes a stream among those of its host; of too many the oldest ends, as of an agent that was started anew.
func (d *Door) admit(s *stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := append(d.streams[s.host], s)
	if len(all) > maxStreams {
		all[0].end("the host has others")
		all = all[1:]
	}
	d.streams[s.host] = all
}

func (d *Door) dismiss(s *stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var rest []*stream
	for _, other := range d.streams[s.host] {
		if other != s {
			rest = append(rest, other)
		}
	}
	if d.streams[s.host] = rest; len(rest) == 0 {
		delete(d.streams, s.host)
	}
}

// follow answers with a stream, for as long as the host is one and is there.
func (c *call) follow(w http.ResponseWriter) {
	var q hostlink.FollowRequest
	if err := read(c.body, &q); err != nil {
		c.write(w, nil, err)
		return
	}
	if !c.door.storeAnswers(c.r.Context()) {
		c.write(w, nil, refusal{http.StatusServiceUnavailable, hostlink.CodeAway, "the replica cannot do it now; ask again"})
		return
	}
	has, err := c.has(&q)
	if err != nil {
		c.write(w, nil, err)
		return
	}
	c.body = nil // a stream lasts, and what the host has may be a hundred kilobytes
	by, err := c.door.tags.of(c.r.Context(), c.host.Name)
	if err != nil {
		c.write(w, nil, err)
		return
	}
	s := &stream{
		door: c.door, host: c.host.Name, wake: make(chan struct{}, 1), ended: make(chan struct{}), void: c.host.Void,
		told: map[*index]map[string]toldOf{}, marks: map[*index]map[string]int64{}, tags: by, through: map[string]int64{},
	}
	c.door.admit(s)
	defer c.door.dismiss(s)
	ctx, expire := context.WithDeadlineCause(c.r.Context(), c.host.Ends, errExpired)
	defer expire()
	ctx, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(c.door.ctx, func() { cancel(errShut) })()
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := &writer{to: w, control: http.NewResponseController(w), over: func() error { return s.over(ctx) }}
	// Whoever does not read must not hold what is over, nor have the rest of it later.
	var cutting sync.WaitGroup
	cutting.Go(func() {
		select {
		case <-ctx.Done():
		case <-s.void:
		case <-s.ended:
		}
		cancel(s.over(ctx))
		out.cut()
	})
	err = s.run(ctx, out, has)
	cancel(err)
	cutting.Wait() // nothing touches the answer after it
	c.door.cfg.Log.Debug("the stream of a host has ended", "host", s.host, "reason", err)
	select {
	case <-s.void:
		c.audit("", "the host was evicted, and its stream cut")
	default:
	}
}

var (
	errExpired = errors.New("the certificate has expired by which the stream was begun")
	errVoid    = errors.New("the host was evicted")
	errShut    = errors.New("the replica ends")
)

// over says why a stream is to tell nothing more; nil: it is not over.
func (s *stream) over(ctx context.Context) error {
	select {
	case <-s.void:
		return errVoid
	case <-s.ended:
		return errors.New(s.why)
	default:
		return context.Cause(ctx)
	}
}

// run tells all there is, but for what the host has, and then what changes, until the stream is over, which ends the
// context.
func (s *stream) run(ctx context.Context, out *writer, has has) error {
	d := s.door
	hello := hostlink.Hello{
		Version: hostlink.Version, Host: s.host, Home: d.cfg.Home, Keys: d.cfg.Signer.Keys(), Program: d.cfg.Program, From: has != nil,
		Counting: hostlink.Counting{Marks: true, Installation: d.cfg.Installation, EngineMarks: d.cfg.Installation != ""},
	}
	for _, r := range d.cfg.Regions {
		hello.Regions = append(hello.Regions, r.Name)
	}
	if err := out.send(hostlink.Message{Hello: &hello}); err != nil {
		return err
	}
	beat := time.NewTicker(hostlink.BeatEvery)
	defer beat.Stop()
	for _, x := range d.indexes {
		s.told[x], s.marks[x] = map[string]toldOf{}, map[string]int64{}
		defer x.unsubscribe(s)
	}
	if err := s.list(ctx, out, beat, has); err != nil {
		return err
	}
	if err := out.send(hostlink.Message{Listed: true, Through: s.through}); err != nil {
		return err
	}
	for {
		if err := s.await(ctx, out, beat, s.wake); err != nil {
			return err
		}
		for _, batch := range s.take() {
			if err := s.tell(ctx, out, batch); err != nil {
				return err
			}
		}
	}
}

// await waits until something can be had from a channel, and sends signs of life meanwhile.
func (s *stream) await(ctx context.Context, out *writer, beat *time.Ticker, it <-chan struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-it:
			return nil
		case <-beat.C:
			if err := out.send(hostlink.Message{Keys: s.door.cfg.Signer.Keys()}); err != nil {
				return err
			}
		}
	}
}

// tell sends what one commit changed, in one message.
func (s *stream) tell(ctx context.Context, out *writer, batch []*item) error {
	var changes []hostlink.Record
	through := map[string]int64{}
	for _, it := range batch {
		if it.through != 0 {
			through[it.index.region.Name] = it.through
			continue
		}
		more, err := s.changesOf(ctx, it)
		if err != nil {
			return err
		}
		changes = append(append(changes, more...), s.markOf(it.index, it.instance)...)
	}
	if len(changes) == 0 && len(through) == 0 {
		return nil
	}
	return out.send(hostlink.Message{Changes: changes, Through: through})
}

// changesOf is what an item makes of what the host was told before.
func (s *stream) changesOf(ctx context.Context, it *item) (changes []hostlink.Record, err error) {
	x := it.index
	was, known := s.told[x][it.instance]
	switch {
	case it.left != 0:
		// Of one that was read since, the host has it again, or has it no more by a later commit.
		if known && was.attachment < it.left {
			delete(s.told[x], it.instance)
			changes = gone(x.region, it.instance, was.recording)
		}
		return changes, nil
	case !known || was.record == 0:
		return s.begin(ctx, x, it.instance, was.recording)
	}
	if it.record != nil && it.record.Revision > was.record {
		if changes, err = s.instance(ctx, x.region, it.record, &was); err != nil {
			return nil, err
		}
	}
	if it.attachment != nil && it.attachment.Revision > was.attachment {
		was.attachment = it.attachment.Revision
		if _, err := records.DecodeAttachment(*it.attachment); err != nil { // the index has told of it
			changes = append(changes, hostlink.Record{Region: x.region.Name, Key: it.attachment.Key, Unread: true})
		} else {
			changes = append(changes, s.attachment(x.region, it.attachment))
		}
	}
	s.told[x][it.instance] = was
	return changes, nil
}

// gone is what a host is told that has an instance no more; recording is the key of that, if it has one.
func gone(region Region, instance, recording string) []hostlink.Record {
	changes := []hostlink.Record{
		{Region: region.Name, Key: records.AttachmentPrefix + instance},
		{Region: region.Name, Key: records.InstancePrefix + instance},
	}
	if recording != "" {
		changes = append(changes, hostlink.Record{Region: region.Name, Key: recording})
	}
	return changes
}

func (s *stream) attachment(region Region, r *store.Record) hostlink.Record {
	return hostlink.Record{Region: region.Name, Key: r.Key, Value: r.Value, Tag: s.tags.tag(region.Name, r.Key, r.Revision)}
}
