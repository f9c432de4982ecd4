package hostdoor

import (
	"cmp"
	"context"
	"time"

	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// maxListing is how many streams may be listing at once. The others hear meanwhile that the replica lives.
const maxListing = 8

// How much of a listing is made in one turn, and sent in one message: after it the stream has another turn, so that no
// turn waits for a host that reads slowly.
const (
	listLooked = 500       // instances of which it is looked whether the host has them
	listBytes  = 256 << 10 // of what it has not
)

// maxID is the most bytes of the id of a recording.
const maxID = 64

// has is what a host says it has, by region and instance; nil: it says nothing.
type has map[string]map[string]hostlink.HasInstance

// has reads that of a request.
func (c *call) has(q *hostlink.FollowRequest) (has, error) {
	if len(q.Has) == 0 {
		return nil, nil
	}
	all := has{}
	for _, of := range q.Has {
		if err := names(of.Instances, func(i *hostlink.HasInstance) string { return i.Name }); err != nil {
			return nil, err
		}
		if all[of.Region] != nil {
			return nil, malformed("a region is named twice")
		}
		all[of.Region] = make(map[string]hostlink.HasInstance, len(of.Instances))
		for _, i := range of.Instances {
			if len(i.Recording) > maxID {
				return nil, malformed("the id of a recording is longer than any is")
			}
			all[of.Region][i.Name] = i
		}
	}
	return all, nil
}

// recordingOf is the key of the recording that a host has of an instance, if it has one.
func recordingOf(i hostlink.HasInstance) string {
	if i.Recording == "" {
		return ""
	}
	return records.RecordingKey(i.Name, i.Recording)
}

// list tells of all that a host serves, but for what it has as it is, and of what it has and does not serve any more: that
// it is gone.
func (s *stream) list(ctx context.Context, out *writer, beat *time.Ticker, has has) error {
	for _, x := range s.door.indexes {
		if err := s.await(ctx, out, beat, x.ready); err != nil {
			return err
		}
	}
	came := s.door.turns.arrive()
	turn := func(work func() error) error {
		one := s.door.turns.ask(came)
		defer s.door.turns.end(one)
		if err := s.await(ctx, out, beat, one.granted); err != nil {
			return err
		}
		return work()
	}
	var all map[*index][]string
	if err := turn(func() (err error) { all, err = s.served(ctx); return err }); err != nil {
		return err
	}
	for _, x := range s.door.indexes {
		has := has[x.region.Name]
		for instances, missing := all[x], []string(nil); len(instances) > 0 || len(missing) > 0; {
			var changes []hostlink.Record
			err := turn(func() (err error) {
				if len(missing) == 0 {
					n := min(len(instances), listLooked)
					missing, err = s.missing(ctx, x, instances[:n], has)
					instances = instances[n:]
					if err != nil {
						return err
					}
				}
				changes, missing, err = s.describe(ctx, x, missing, has)
				return err
			})
			if err == nil && len(changes) > 0 {
				err = out.send(hostlink.Message{Changes: changes})
			}
			if err != nil {
				return err
			}
		}
		if changes := append(s.lost(x, has), s.allMarks(x)...); len(changes) > 0 {
			if err := out.send(hostlink.Message{Changes: changes}); err != nil {
				return err
			}
		}
	}
	return nil
}

// served is what the host may have now, by region, of which [stream.begin] tells what it has. The indexes may be behind,
// and what they leave out the host would let go of, to have it again a moment later; so the store is asked for the host's
// places, once each change after that is sure to be told.
func (s *stream) served(ctx context.Context) (map[*index][]string, error) {
	all := map[*index][]string{}
	for _, x := range s.door.indexes {
		all[x] = x.subscribe(s)
	}
	page, err := s.door.cfg.Whole.List(ctx, store.Range{Prefix: records.PlacesOf(s.host)})
	if err != nil {
		return nil, err
	}
	known := map[*index]map[string]bool{}
	for x, instances := range all {
		known[x] = make(map[string]bool, len(instances))
		for _, instance := range instances {
			known[x][instance] = true
		}
	}
	for _, r := range page.Records {
		there, err := records.Decode[[]records.Placed](r)
		if err != nil {
			s.door.cfg.Log.Error("a place of a host cannot be read; who is attached there is known from the attachments alone", "key", r.Key, "error", err)
			continue
		}
		for _, p := range there {
			for _, x := range s.door.indexes {
				if x.region.Name == cmp.Or(p.Region, s.door.cfg.Home) && !known[x][p.Instance] {
					known[x][p.Instance] = true
					all[x] = append(all[x], p.Instance)
				}
			}
		}
	}
	return all, nil
}

// missing are those instances that the host does not have as they are now. Of the others it need not be told: whose they
// are was looked at when their tags were made, and their attachments are what they were then.
func (s *stream) missing(ctx context.Context, x *index, instances []string, has map[string]hostlink.HasInstance) (missing []string, err error) {
	var keys, maybe []string
	for _, name := range instances {
		if i := has[name]; i.Record == "" || i.Attachment == "" {
			missing = append(missing, name)
			continue
		}
		maybe = append(maybe, name)
		keys = append(keys, records.InstancePrefix+name, records.AttachmentPrefix+name)
	}
	if len(keys) == 0 {
		return missing, nil
	}
	revisions, err := x.region.Store.Revisions(ctx, keys...)
	if err != nil {
		return nil, err
	}
	for n, name := range maybe {
		i, record, attachment := has[name], revisions[2*n], revisions[2*n+1]
		if record == 0 || attachment == 0 ||
			i.Record != s.tags.tag(x.region.Name, keys[2*n], record) || i.Attachment != s.tags.tag(x.region.Name, keys[2*n+1], attachment) {
			missing = append(missing, name)
			continue
		}
		s.told[x][name] = toldOf{record: record, attachment: attachment, recording: recordingOf(i)}
	}
	return missing, nil
}

// describe is what a host is told of instances, and those that are left for another time.
func (s *stream) describe(ctx context.Context, x *index, instances []string, has map[string]hostlink.HasInstance) (changes []hostlink.Record, left []string, err error) {
	for size := 0; len(instances) > 0 && size < listBytes; instances = instances[1:] {
		more, err := s.begin(ctx, x, instances[0], recordingOf(has[instances[0]]))
		if err != nil {
			return nil, nil, err
		}
		for _, r := range more {
			size += len(r.Key) + len(r.Value)
		}
		changes = append(changes, more...)
	}
	return changes, instances, nil
}

// lost is what a host is told of what it has and was not told of: that it is gone.
func (s *stream) lost(x *index, has map[string]hostlink.HasInstance) (changes []hostlink.Record) {
	for name, i := range has {
		if _, told := s.told[x][name]; !told {
			changes = append(changes, gone(x.region, name, recordingOf(i))...)
		}
	}
	return changes
}
