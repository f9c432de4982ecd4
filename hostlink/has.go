package hostlink

import (
	"bytes"
	"context"
	"strings"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// hasBytes is about how much of a request says what a host has. What does not fit in is told anew.
const hasBytes = MaxBody / 8 * 7

// had are the records that a replica was told of that the host has them, without their values, by their keys in the copy.
type had map[string]Record

// has is what the copy has of earlier streams, and where.
func (c *Copy) has(ctx context.Context) (all []Has, from had, err error) {
	about, known := c.About()
	if !known {
		return nil, nil, nil
	}
	from = had{}
	size := 0
	for _, region := range about.Regions {
		of := Has{Region: region}
		part := about.Prefix(region)
		there := map[string]store.Record{}
		for _, prefix := range ours {
			page, err := c.store.List(ctx, store.Range{Prefix: part + prefix, KeysOnly: prefix == records.RecordingPrefix})
			if err != nil {
				return nil, nil, err
			}
			for _, r := range page.Records {
				r.Key = strings.TrimPrefix(r.Key, part)
				there[r.Key] = r
			}
		}
		for key, r := range there {
			name, ok := strings.CutPrefix(key, records.InstancePrefix)
			if !ok {
				continue
			}
			i := HasInstance{Name: name, Record: records.Tag(r.Value), Attachment: records.Tag(there[records.AttachmentPrefix+name].Value)}
			if i.Recording, ok = recordingOf(r, there); !ok {
				continue
			}
			size += len(i.Name) + len(i.Record) + len(i.Attachment) + len(i.Recording) + len(`{"name":"","record":"","attachment":"","recording":""},`)
			if i.Record == "" || i.Attachment == "" || size > hasBytes {
				continue
			}
			of.Instances = append(of.Instances, i)
			of.add(from, part, key)
			of.add(from, part, records.AttachmentPrefix+name)
			if i.Recording != "" {
				of.add(from, part, records.RecordingKey(name, i.Recording))
			}
		}
		if len(of.Instances) > 0 {
			all = append(all, of)
		}
	}
	return all, from, nil
}

func (h *Has) add(from had, part, key string) { from[part+key] = Record{Region: h.Region, Key: key} }

// recordingOf is the id of the recording that an instance's record names; empty: it names none. False: it is not there.
func recordingOf(r store.Record, there map[string]store.Record) (id string, ok bool) {
	if !bytes.Contains(r.Value, []byte(`"recorded"`)) { // nearly none has one, and telling so costs less than reading it
		return "", true
	}
	in, err := records.DecodeInstance(r)
	if err != nil {
		return "", false
	}
	if in.Recorded == nil || in.Recorded.ID == "" {
		return "", true
	}
	_, ok = there[records.RecordingKey(in.Name, in.Recorded.ID)]
	return in.Recorded.ID, ok
}
