package openimds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Keys of the store. A resource's key is its kind and its name, so that a range lists one kind in
// the order of names, and the store's own conditions keep names unique.
const (
	InstancePrefix  = "instance/"
	OperationPrefix = "operation/"
	KeyPairPrefix   = "keypair/"
	StaticIPPrefix  = "staticip/"
	AlarmPrefix     = "alarm/"
	// RecordingPrefix leads the recordings: its keys go on with the instance's name, a slash and the
	// recording's id. They are written once and never changed.
	RecordingPrefix = "recording/"
	// OperationOfPrefix leads the index of operations by resource: its keys go on with the
	// resource's name, a slash and the operation's id.
	OperationOfPrefix = "operation-of/"
)

// ResourceType says what a resource is, by the names of the Lightsail API.
type ResourceType string

// The types of resources that have records.
const (
	TypeInstance ResourceType = "Instance"
	TypeKeyPair  ResourceType = "KeyPair"
	TypeStaticIP ResourceType = "StaticIp"
	TypeAlarm    ResourceType = "Alarm"
)

// resourceTypes lists the types among which a name is unique.
func resourceTypes() []ResourceType {
	return []ResourceType{TypeInstance, TypeKeyPair, TypeStaticIP, TypeAlarm}
}

// key is where the resource of that type and name has its record.
func (t ResourceType) key(name string) string { return t.prefix() + name }

func (t ResourceType) prefix() string {
	switch t {
	case TypeInstance:
		return InstancePrefix
	case TypeKeyPair:
		return KeyPairPrefix
	case TypeStaticIP:
		return StaticIPPrefix
	default:
		return AlarmPrefix
	}
}

// recordSchema is the version of the records that this program writes. A record of a later schema
// may hold a restriction that this program cannot carry out, so it is refused, never half-read.
const recordSchema = 1

// recordedSchema is that of an instance whose recording has a record of its own: an earlier program
// would answer the table in its place.
const recordedSchema = 2

// attachmentSchema is that of attachments: programs that know only the first one would take another link of
// the name for the one that an attachment is bound to.
const attachmentSchema = 2

type envelope[T any] struct {
	Schema int `json:"schema"`
	Data   T   `json:"data"`
}

// encode makes the stored form of a resource.
func encode(v any) ([]byte, error) {
	if in, ok := v.(*Instance); ok {
		return EncodeInstance(in)
	}
	if a, ok := v.(*Attachment); ok {
		return json.Marshal(envelope[any]{Schema: attachmentSchema, Data: a})
	}
	return json.Marshal(envelope[any]{Schema: recordSchema, Data: v})
}

// decode reads the stored form of a resource.
func decode[T any](r Record) (T, error) {
	v, schema, err := open[T](r)
	if err == nil && schema != recordSchema {
		err = newerSchema(r, schema)
	}
	return v, err
}

// open is decode for whoever knows the schemas.
func open[T any](r Record) (v T, schema int, err error) {
	var e envelope[*T]
	if err := json.Unmarshal(r.Value, &e); err != nil {
		return v, 0, fmt.Errorf("record %s is damaged: %w", r.Key, err)
	}
	if e.Data == nil {
		return v, e.Schema, fmt.Errorf("record %s is damaged: it is empty", r.Key)
	}
	return *e.Data, e.Schema, nil
}

func newerSchema(r Record, schema int) error {
	return fmt.Errorf("record %s has schema %d, this program knows %d: run the newer openimds", r.Key, schema, recordSchema)
}

// DecodeInstance reads an instance's record and refuses one whose options cannot be carried out:
// the defaults are permissive, so a doubtful record must not fall back to them.
func DecodeInstance(r Record) (*Instance, error) {
	in, schema, err := open[*Instance](r)
	if err != nil {
		return nil, err
	}
	switch {
	case schema == recordSchema && in.Recorded == nil:
		if in.Recording != nil {
			in.Recorded = in.Recording.summary()
		}
	case schema == recordedSchema && in.Recorded != nil:
		if in.Recorded.ID == "" || in.Recording != nil {
			return nil, fmt.Errorf("record %s is damaged: where its recording is cannot be told", r.Key)
		}
	default:
		return nil, newerSchema(r, schema)
	}
	if err := in.Options.Validate(); err != nil {
		return nil, fmt.Errorf("record %s: %w", r.Key, err)
	}
	if len(in.TokenKey) != TokenKeySize {
		return nil, fmt.Errorf("record %s: the token key has %d bytes, not %d", r.Key, len(in.TokenKey), TokenKeySize)
	}
	return in, nil
}

// EncodeInstance makes the record that [DecodeInstance] reads. A recording without a record of its own
// stands in it, as those of earlier versions do.
func EncodeInstance(in *Instance) ([]byte, error) {
	stored, schema := *in, recordSchema
	if in.Recorded != nil && in.Recorded.ID != "" {
		stored.Recording, schema = nil, recordedSchema
	} else {
		stored.Recorded = nil
	}
	var text bytes.Buffer
	plain := json.NewEncoder(&text)
	plain.SetEscapeHTML(false) // which would make much of an overlay six times as long
	err := plain.Encode(envelope[*Instance]{Schema: schema, Data: &stored})
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), err
}

// LoadRecording reads the recording of an instance that has one, from the store unless known, an
// earlier state of the instance or nil, has it. The error is ErrNoRecord when it is not there: then the
// instance was given another one, or is gone, since its record was read.
func LoadRecording(ctx context.Context, s Store, in, known *Instance) error {
	if in.Recorded == nil || in.Recording != nil {
		return nil
	}
	if known != nil && known.Recorded != nil && known.Recorded.ID == in.Recorded.ID {
		in.Recording = known.Recording
		return nil
	}
	apart, err := s.Get(ctx, recordingKey(in.Name, in.Recorded.ID))
	if err != nil {
		return err
	}
	in.Recording, err = decode[*Recording](apart)
	return err
}

func recordingKey(instance, id string) string { return RecordingPrefix + instance + "/" + id }

// DecodeAlarm reads an alarm's record, for those who watch the alarms.
func DecodeAlarm(r Record) (*Alarm, error) {
	alarm, err := decode[*Alarm](r)
	if err == nil && alarm == nil {
		err = fmt.Errorf("record %s is damaged: it is empty", r.Key)
	}
	return alarm, err
}

// find reads one resource, and its record as the state to compare with.
func find[T any](ctx context.Context, s Store, t ResourceType, name string) (T, Record, error) {
	var none T
	if err := ValidateName(name); err != nil {
		return none, Record{}, err
	}
	r, err := s.Get(ctx, t.key(name))
	if errors.Is(err, ErrNoRecord) {
		return none, Record{}, doesNotExist(t, name)
	}
	if err != nil {
		return none, Record{}, storeFailed(err)
	}
	v, err := read[T](r)
	return v, r, err
}

// read decodes a resource's record, an instance's with the care that [DecodeInstance] takes.
func read[T any](r Record) (T, error) {
	var v T
	var err error
	if in, ok := any(&v).(**Instance); ok {
		*in, err = DecodeInstance(r)
	} else {
		v, err = decode[T](r)
	}
	if err != nil {
		return v, &Error{Kind: Internal, Message: "Internal error", Err: err}
	}
	return v, nil
}

// list reads a page of the resources of one type, by name, and tells the name to go on behind; it
// is empty at the end.
func list[T any](ctx context.Context, s Store, t ResourceType, after string, limit int) ([]T, string, error) {
	r := Range{Prefix: t.prefix(), Limit: limit}
	if after != "" {
		r.After = t.key(after)
	}
	page, err := s.List(ctx, r)
	if err != nil {
		return nil, "", storeFailed(err)
	}
	values := make([]T, 0, len(page.Records))
	for _, r := range page.Records {
		v, err := read[T](r)
		if err != nil {
			return nil, "", err
		}
		values = append(values, v)
	}
	next := ""
	if page.More {
		next = strings.TrimPrefix(page.Records[len(page.Records)-1].Key, t.prefix())
	}
	return values, next, nil
}

func doesNotExist(t ResourceType, name string) *Error {
	return Errorf(NotFound, "DoesNotExist", "The %s does not exist: %s", t, name)
}

// storeFailed turns a store's failure into one that a client may retry.
func storeFailed(err error) error {
	return &Error{Kind: Unavailable, Message: "The store is not available; try again", Err: err}
}
