package records

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// DecodeInstance reads an instance's record and refuses one whose options cannot be carried out:
// the defaults are permissive, so a doubtful record must not fall back to them.
func DecodeInstance(r store.Record) (*openimds.Instance, error) {
	stored, schema, err := open[storedInstance](r, recordedSchema)
	if err != nil {
		return nil, err
	}
	in := stored.Instance
	switch {
	case in == nil:
		return nil, fmt.Errorf("record %s is damaged: it is empty", r.Key)
	case (schema == recordedSchema) != (in.Recorded != nil), in.Recorded != nil && (in.Recorded.ID == "" || in.Recording != nil):
		return nil, fmt.Errorf("record %s is damaged: where its recording is cannot be told", r.Key)
	case in.Recording != nil:
		in.Recorded = in.Recording.Summary()
	}
	stored.nameTags()
	if err := in.Options.Validate(); err != nil {
		return nil, fmt.Errorf("record %s: %w", r.Key, err)
	}
	if len(in.TokenKey) != openimds.TokenKeySize {
		return nil, fmt.Errorf("record %s: the token key has %d bytes, not %d", r.Key, len(in.TokenKey), openimds.TokenKeySize)
	}
	return in, nil
}

// storedInstance is an instance's record as this program and those before it write it.
type storedInstance struct {
	*openimds.Instance
	// TagsInMetadata is what became an option.
	TagsInMetadata bool `json:"tagsInMetadata,omitempty"`
}

// nameTags says by the options what the records of earlier versions say beside them.
func (s *storedInstance) nameTags() {
	if s.Options.Tags != "" {
		return
	}
	s.Options.Tags = openimds.EndpointDisabled
	if s.TagsInMetadata {
		s.Options.Tags = openimds.EndpointEnabled
	}
}

// DecodeTerminated reads what is left of a deleted instance.
func DecodeTerminated(r store.Record) (*openimds.Instance, error) {
	return Decode[*openimds.Instance](r)
}

// EncodeInstance makes the record that [DecodeInstance] reads. A recording without a record of its own
// stands in it, as those of earlier versions do.
func EncodeInstance(in *openimds.Instance) ([]byte, error) {
	stored, schema := *in, recordSchema
	if in.Recorded != nil && in.Recorded.ID != "" {
		stored.Recording, schema = nil, recordedSchema
	} else {
		stored.Recorded = nil
	}
	var text bytes.Buffer
	plain := json.NewEncoder(&text)
	plain.SetEscapeHTML(false) // which would make much of an overlay six times as long
	err := plain.Encode(Envelope[*openimds.Instance]{Schema: schema, Data: &stored})
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

// LoadRecording reads the recording of an instance that has one, from the store unless known, an
// earlier state of the instance or nil, has it. The error is ErrNoRecord when it is not there: then the
// instance was given another one, or is gone, since its record was read.
func LoadRecording(ctx context.Context, s store.Store, in, known *openimds.Instance) error {
	if in.Recorded == nil || in.Recording != nil {
		return nil
	}
	if known != nil && known.Recorded != nil && known.Recorded.ID == in.Recorded.ID {
		in.Recording = known.Recording
		return nil
	}
	apart, err := s.Get(ctx, RecordingKey(in.Name, in.Recorded.ID))
	if err != nil {
		return err
	}
	in.Recording, err = Decode[*openimds.Recording](apart)
	return err
}

// RecordingKey is where a recording of an instance has its record.
func RecordingKey(instance, id string) string { return RecordingPrefix + instance + "/" + id }
