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
	attached map[string]attached     // by instance
	hosts    map[string]*served      // by name: those that have instances, or streams
	watched  map[string]store.Record // the marks of instances whose refused calls somebody waits for
}

// attached is where an instance is, since which revision.
type attached struct {
	host     *served
	revision int64
}

// served is what a host has, and who is told of it.
type served struct {
	name      string
	instances map[string]struct{}
	streams   map[*stream]struct{}
}

func newIndex(r Region, log *slog.Logger) *index {
	return &index{region: r, log: log, ready: make(chan struct{}), attached: map[string]attached{}, hosts: map[string]*served{}, watched: map[string]store.Record{}}
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
	var there []attachedTo
	for r := (store.Range{Prefix: records.AttachmentPrefix, Limit: indexPage}); ; {
		page, err := x.region.Store.List(ctx, r)
		if err != nil {
			return err
		}
		for _, record := range page.Records {
			r.After = record.Key
			there = append(there, attachmentOf(record))
		}
		if !page.More {
			break
		}
	}
	watched, err := x.region.Store.List(ctx, store.Range{Prefix: records.WatchedPrefix})
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, h := range x.hosts {
		for s := range h.streams {
			s.end("the replica has to look at all anew")
		}
		clear(h.instances)
	}
	before := x.attached
	x.attached = make(map[string]attached, len(there))
	for _, to := range there {
		if was := before[to.instance]; to.unread != nil && was.host != nil { // then it is whose it was
			x.attached[to.instance] = attached{was.host, to.revision}
		}
		x.note(to)
	}
	for name := range x.hosts {
		x.tidy(name)
	}
	x.rewatch(watched.Records)
	x.revision = revision
	if !x.known {
		x.known = true
		close(x.ready)
	}
	return nil
}

// attachedTo is what the record of an attachment says, as far as it is of interest here; without a host it is there no
// more, or cannot be read.
type attachedTo struct {
	instance, host string
	revision       int64
	unread         error // why it cannot be read
}

func attachmentOf(r store.Record) attachedTo {
	to := attachedTo{instance: strings.TrimPrefix(r.Key, records.AttachmentPrefix), revision: r.Revision}
	if r.Value == nil {
		return to
	}
	a, err := records.DecodeAttachment(r)
	if err != nil {
		to.unread = err
		return to
	}
	to.host = a.Host
	return to
}

// note takes note of one attachment, and returns whose the instance was and is; empty: nobody's. x.mu is held.
func (x *index) note(to attachedTo) (was, is string) {
	known := x.attached[to.instance]
	if known.host != nil {
		was = known.host.name
		if to.revision < known.revision {
			return was, was // it was read since
		}
	}
	if to.unread != nil {
		// Such as one of a later schema, while replicas are upgraded one after the other: the host goes on with what it knows.
		to.host = was
		x.log.Error("an attachment cannot be read; the host that is known to have the instance keeps it", "instance", to.instance, "host", was, "error", to.unread)
	}
	if was != "" && was != to.host {
		delete(known.host.instances, to.instance)
		x.tidy(was)
	}
	if to.host == "" {
		delete(x.attached, to.instance)
		return was, ""
	}
	h := x.host(to.host)
	x.attached[to.instance] = attached{h, to.revision}
	h.instances[to.instance] = struct{}{}
	return was, to.host
}

// host is that of a name, which is known from now on. x.mu is held.
func (x *index) host(name string) *served {
	h := x.hosts[name]
	if h == nil {
		h = &served{name: name, instances: map[string]struct{}{}, streams: map[*stream]struct{}{}}
		x.hosts[name] = h
	}
	return h
}

// tidy forgets a host that has nothing. x.mu is held.
func (x *index) tidy(name string) {
	if h := x.hosts[name]; h != nil && len(h.instances) == 0 && len(h.streams) == 0 {
		delete(x.hosts, name)
	}
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
	marked := x.watch(changes)
	for i := range changes {
		if !strings.HasPrefix(changes[i].Key, records.AttachmentPrefix) {
			continue
		}
		to := attachmentOf(changes[i])
		was, is := x.note(to)
		if was != "" && was != is {
			of(was, to.instance).left = changes[i].Revision
		}
		if is != "" {
			of(is, to.instance).attachment = &changes[i]
		}
	}
	for i := range changes {
		if instance, ok := strings.CutPrefix(changes[i].Key, records.InstancePrefix); ok {
			if host := x.attached[instance].host; host != nil {
				of(host.name, instance).record = &changes[i]
			}
		}
	}
	for _, instance := range marked {
		if host := x.attached[instance].host; host != nil {
			of(host.name, instance)
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
		if h := x.hosts[host]; h != nil { // else nobody is told
			for s := range h.streams {
				s.push(batch)
			}
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
// which may be behind the store. It is known who has what by then.
func (x *index) subscribe(s *stream) []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	h := x.host(s.host)
	h.streams[s] = struct{}{}
	s.through[x.region.Name] = x.revision
	return slices.Collect(maps.Keys(h.instances))
}

func (x *index) unsubscribe(s *stream) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if h := x.hosts[s.host]; h != nil {
		delete(h.streams, s)
		x.tidy(s.host)
	}
}
