package hostdoor

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// indexPage is how many attachments are read at once.
const indexPage = 1000

// index knows which host has which instance of a region, and passes each change on to the streams of the host that it
// concerns. It is one for all streams, so that a host costs no watch of the store, and no host's stream sees a change
// that is another's.
type index struct {
	region Region
	log    *slog.Logger

	mu       sync.Mutex
	ready    chan struct{}           // closed once it is known who has what
	known    bool                    // ready is closed
	revision int64                   // of the store, up to which all was passed on
	attached map[string]store.Record // by instance
	hosts    map[string]string       // the host of each instance
	served   map[string]map[string]bool
	streams  map[string]map[*stream]bool
}

func newIndex(r Region, log *slog.Logger) *index {
	return &index{
		region: r, log: log, ready: make(chan struct{}),
		attached: map[string]store.Record{}, hosts: map[string]string{}, served: map[string]map[string]bool{}, streams: map[string]map[*stream]bool{},
	}
}

// run follows the region's store until the context ends.
func (x *index) run(ctx context.Context) {
	store.Follow(ctx, x.region.Store, store.Follower{
		Unread:  true, // of all records, only the attachments are looked at
		Listed:  func(ctx context.Context, page store.Page) error { return x.list(ctx, page.Revision) },
		Changed: func(_ context.Context, changes []store.Record) error { x.changed(changes); return nil },
		Log:     x.log,
		Away:    "what hosts serve cannot be followed; they go on with what they know",
	})
}

// list learns who has what, at that revision or later. Whoever is being told has to be told all anew: changes may have
// been missed.
func (x *index) list(ctx context.Context, revision int64) error {
	var all []store.Record
	for r := (store.Range{Prefix: records.AttachmentPrefix, Limit: indexPage}); ; {
		page, err := x.region.Store.List(ctx, r)
		if err != nil {
			return err
		}
		all = append(all, page.Records...)
		if !page.More {
			break
		}
		r.After = page.Records[len(page.Records)-1].Key
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, of := range x.streams {
		for s := range of {
			s.end("the replica has to look at all anew")
		}
	}
	before := maps.Clone(x.hosts)
	clear(x.attached)
	clear(x.hosts)
	clear(x.served)
	for _, r := range all {
		if _, err := records.DecodeAttachment(r); err != nil { // then it is whose it was
			if instance := strings.TrimPrefix(r.Key, records.AttachmentPrefix); before[instance] != "" {
				x.hosts[instance] = before[instance]
			}
		}
		x.note(r)
	}
	x.revision = revision
	if !x.known {
		x.known = true
		close(x.ready)
	}
	return nil
}

// note takes note of one attachment, and returns whose the instance was and is; empty: nobody's. x.mu is held.
func (x *index) note(r store.Record) (instance, was, is string) {
	instance = strings.TrimPrefix(r.Key, records.AttachmentPrefix)
	was = x.hosts[instance]
	if known, there := x.attached[instance]; there && r.Revision < known.Revision {
		return instance, was, was // it was read since
	}
	if r.Value != nil {
		if a, err := records.DecodeAttachment(r); err == nil {
			is = a.Host
		} else {
			// Such as one of a later schema, while replicas are upgraded one after the other: the host goes on with what it knows.
			is = was
			x.log.Error("an attachment cannot be read; the host that is known to have the instance keeps it", "instance", instance, "host", was, "error", err)
		}
	}
	if was != "" && was != is {
		delete(x.served[was], instance)
		delete(x.hosts, instance)
	}
	if is == "" {
		delete(x.attached, instance)
		return instance, was, is
	}
	x.attached[instance], x.hosts[instance] = r, is
	if x.served[is] == nil {
		x.served[is] = map[string]bool{}
	}
	x.served[is][instance] = true
	return instance, was, is
}

// item is something that a stream has to tell of.
type item struct {
	index    *index
	instance string
	// left is the revision of the commit since which the host has the instance no more; 0: it has it.
	left int64
	// attachment and record are those of the instance that were changed; nil: they were not.
	attachment, record *store.Record
	// through is the revision up to which the stream has told all once it comes to it; then it is of no instance. 0: none.
	through int64
}

// changed passes changes on, commit by commit.
func (x *index) changed(changes []store.Record) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(changes) > 0 {
		n := 1
		for n < len(changes) && changes[n].Revision == changes[0].Revision {
			n++
		}
		x.commit(changes[:n])
		x.revision = changes[0].Revision
		changes = changes[n:]
	}
}

// commit passes on what one commit changed, to each host its own. x.mu is held.
func (x *index) commit(changes []store.Record) {
	told := map[string]map[string]*item{} // by host and instance
	of := func(host, instance string) *item {
		if told[host] == nil {
			told[host] = map[string]*item{}
		}
		if told[host][instance] == nil {
			told[host][instance] = &item{index: x, instance: instance}
		}
		return told[host][instance]
	}
	for i := range changes {
		if !strings.HasPrefix(changes[i].Key, records.AttachmentPrefix) {
			continue
		}
		instance, was, is := x.note(changes[i])
		if was != "" && was != is {
			of(was, instance).left = changes[i].Revision
		}
		if is != "" {
			it := of(is, instance)
			it.attachment = &changes[i]
		}
	}
	for i := range changes {
		if instance, ok := strings.CutPrefix(changes[i].Key, records.InstancePrefix); ok {
			if host := x.hosts[instance]; host != "" {
				of(host, instance).record = &changes[i]
			}
		}
	}
	for i := range changes {
		if host := seating(&changes[i]); host != "" {
			of(host, "").through = changes[i].Revision
		}
	}
	for host, items := range told {
		batch := make([]*item, 0, len(items))
		for _, it := range items {
			batch = append(batch, it)
		}
		for s := range x.streams[host] {
			s.push(batch)
		}
	}
}

// seating is the host that has taken a seat by this change; empty: none has.
func seating(r *store.Record) string {
	if r.Value == nil || !strings.HasPrefix(r.Key, records.SeatPrefix) {
		return ""
	}
	if seat, err := records.Decode[records.Seat](*r); err != nil || seat.Obeys != "" {
		return "" // it was taken before
	}
	return records.SeatingHost(r.Key)
}

// subscribe has a stream be told of what its host has from now on, and returns what that has as far as the index knows,
// which may be behind the store.
func (x *index) subscribe(ctx context.Context, s *stream) (instances []string, err error) {
	select {
	case <-x.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.streams[s.host] == nil {
		x.streams[s.host] = map[*stream]bool{}
	}
	x.streams[s.host][s] = true
	s.through[x.region.Name] = x.revision
	return slices.Collect(maps.Keys(x.served[s.host])), nil
}

func (x *index) unsubscribe(s *stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.streams[s.host], s)
	if len(x.streams[s.host]) == 0 {
		delete(x.streams, s.host)
	}
}
