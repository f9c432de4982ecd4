package hostdoor

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// maxBegun is how often an instance is read again whose recording was replaced meanwhile.
const maxBegun = 10

// begin is what a host is told of an instance that it has not been told of: as that is now, or nothing if it is not the
// host's by now; then what has become of it comes next. recording is the key of one that it has, if it has one.
func (s *stream) begin(ctx context.Context, x *index, instance, recording string) ([]hostlink.Record, error) {
	was := toldOf{recording: recording}
	for range maxBegun {
		record, attached, err := s.load(ctx, x.region, instance)
		if errors.Is(err, errUnread) {
			return s.unread(x, instance, recording), nil
		}
		if err != nil || record == nil {
			return nil, err
		}
		changes, err := s.instance(ctx, x.region, record, &was)
		if err != nil {
			return nil, err
		}
		if was.record != 0 {
			was.attachment = attached.Revision
			s.told[x][instance] = was
			return append(changes, s.attachment(x.region, attached)), nil
		}
	}
	s.door.cfg.Log.Error("an instance's recording is not there; its host goes on with what it knows", "instance", instance)
	return s.unread(x, instance, recording), nil
}

// load reads the record of an instance that the host has not been told of yet, and its attachment, which may be a later
// one than the index knows; nil: it is gone, or another host's, by now. Only if its attachment was this host's before the
// record was read, and is the same afterwards, the record was this host's when it was read.
func (s *stream) load(ctx context.Context, region Region, instance string) (record, attached *store.Record, err error) {
	for ctx.Err() == nil {
		before, err := region.Store.Get(ctx, records.AttachmentPrefix+instance)
		if err != nil {
			return nil, nil, unlessGone(err)
		}
		a, err := records.DecodeAttachment(before)
		if err != nil {
			return nil, nil, errUnread
		}
		if a.Host != s.host {
			return nil, nil, nil
		}
		r, err := region.Store.Get(ctx, records.InstancePrefix+instance)
		if err != nil {
			return nil, nil, unlessGone(err)
		}
		after, err := region.Store.Get(ctx, before.Key)
		if err != nil {
			return nil, nil, unlessGone(err)
		}
		if after.Revision == before.Revision {
			return &r, &after, nil
		}
	}
	return nil, nil, ctx.Err()
}

// unlessGone is an error, but for that of a record that is not there.
func unlessGone(err error) error {
	if errors.Is(err, store.ErrNoRecord) {
		return nil
	}
	return err
}

// instance is what a host is told of an instance's record, with its recording before it.
func (s *stream) instance(ctx context.Context, region Region, r *store.Record, was *toldOf) (changes []hostlink.Record, err error) {
	add := func(of hostlink.Record) {
		of.Region = region.Name
		changes = append(changes, of)
	}
	former := was.recording
	if r.Value == nil {
		was.record, was.recording = r.Revision, ""
		add(hostlink.Record{Key: r.Key})
	} else {
		value, in, err := trimmed(*r)
		if err != nil {
			s.door.cfg.Log.Error("an instance's record cannot be read; its host goes on with what it knows", "key", r.Key, "error", err)
			was.record = r.Revision
			add(hostlink.Record{Key: r.Key, Unread: true})
			return changes, nil
		}
		key := ""
		if in.Recorded != nil && in.Recorded.ID != "" {
			key = records.RecordingKey(in.Name, in.Recorded.ID)
		}
		if key != "" && key != former {
			apart, err := region.Store.Get(ctx, key)
			if errors.Is(err, store.ErrNoRecord) {
				return nil, nil // the instance has another one by now, which comes next
			}
			if err != nil {
				return nil, err
			}
			add(hostlink.Record{Key: key, Value: apart.Value})
		}
		was.record, was.recording = r.Revision, key
		add(hostlink.Record{Key: r.Key, Value: value, Tag: s.tags.tag(region.Name, r.Key, r.Revision)})
	}
	if former != "" && former != was.recording {
		add(hostlink.Record{Key: former})
	}
	return changes, nil
}

// trimmed is an instance's record without what only the control side shows: no guest reads it, so no host has it.
func trimmed(r store.Record) (json.RawMessage, *openimds.Instance, error) {
	in, err := records.DecodeInstance(r)
	if err != nil {
		return nil, nil, err
	}
	in.AddressType, in.StaticIPName, in.KeyPairName, in.Username, in.Ports = "", "", "", "", nil
	value, err := records.EncodeInstance(in)
	return value, in, err
}
