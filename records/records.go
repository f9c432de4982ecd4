// Package records says where the words of the root stand in a store, and how: keys, encodings, and the
// versions of both. Whoever writes records and whoever watches them reads them by it alone.
package records

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
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
	// NamePrefix leads the names that are taken: by these records resources of all types find each other, and
	// two that are made at the same moment meet. Their values are the types.
	NamePrefix = "name/"
	// DefaultsPrefix leads the defaults of new instances: its keys go on with the region.
	DefaultsPrefix = "defaults/"
	// OperationOfPrefix leads the index of operations by resource: its keys go on with the
	// resource's name, a slash and the operation's id.
	OperationOfPrefix = "operation-of/"
	// RegionPrefix leads the records of further regions: behind it and the region's name all keys stand once more.
	RegionPrefix = "region/"
	// HomeKey says which region the records are of that stand behind no region's name.
	HomeKey = "home-region"
	// InstanceIDPrefix leads the ids of instances: their keys go on with the id, their values are the names.
	InstanceIDPrefix = "instance-id/"
	// TerminatedPrefix leads what is left of deleted instances for a while: their keys go on with the id.
	TerminatedPrefix = "terminated/"
	// LaunchPrefix leads the launches that a client may ask for again: their keys go on with the client's token.
	LaunchPrefix = "launch/"
	// RehearsalPrefix leads the names of the instances with a rehearsal whose end is not written down.
	RehearsalPrefix = "rehearsal/"
)

// RegionKey leads the records of that further region.
func RegionKey(region string) string { return RegionPrefix + region + "/" }

// Key is where the resource of that type and name has its record.
func Key(t openimds.ResourceType, name string) string { return Prefix(t) + name }

// NameKey is where the resource of that name, of whatever type, holds it.
func NameKey(name string) string { return NamePrefix + name }

// InstanceIDKey is where the instance of that id is found.
func InstanceIDKey(id string) string { return InstanceIDPrefix + id }

// TerminatedKey is where the instance of that id is remembered once it is deleted.
func TerminatedKey(id string) string { return TerminatedPrefix + id }

// LaunchKey is where the launch with that client's token is remembered.
func LaunchKey(token string) string { return LaunchPrefix + token }

// RehearsalKey is where it is noted that the instance of that name has a rehearsal.
func RehearsalKey(instance string) string { return RehearsalPrefix + instance }

// Prefix leads the keys of all resources of that type.
func Prefix(t openimds.ResourceType) string {
	switch t {
	case openimds.TypeInstance:
		return InstancePrefix
	case openimds.TypeKeyPair:
		return KeyPairPrefix
	case openimds.TypeStaticIP:
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

// attachmentSchema is that of attachments. Programs that know only the first one would take another link of
// the name for the one that an attachment is bound to, and those that know the second only, the link of
// another host.
const attachmentSchema = 3

// movedSchema is that of an attachment that another host has yet to let go of: a program that does not know it would
// begin before that.
const movedSchema = 4

// Envelope is the stored form: the version of the record, and the resource.
type Envelope[T any] struct {
	Schema int `json:"schema"`
	Data   T   `json:"data"`
}

// stamp leads a stored form that [Stamp] has put a tag on.
const stamp = `{"tag":"`

// Stamp puts a tag on a stored form; whoever decodes it does not see it. A tag has letters, digits, - and _ alone.
func Stamp(value []byte, tag string) []byte {
	if tag == "" || len(value) == 0 || value[0] != '{' {
		return value
	}
	return slices.Concat([]byte(stamp), []byte(tag), []byte(`",`), value[1:])
}

// Tag is the tag on a stored form; empty: it has none.
func Tag(value []byte) string {
	rest, stamped := bytes.CutPrefix(value, []byte(stamp))
	if !stamped {
		return ""
	}
	tag, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(tag)
}

// Encode makes the stored form of a resource.
func Encode(v any) ([]byte, error) {
	if in, ok := v.(*openimds.Instance); ok {
		return EncodeInstance(in)
	}
	if a, ok := v.(*openimds.Attachment); ok {
		schema := attachmentSchema
		if len(a.From) > 0 {
			schema = movedSchema
		}
		return json.Marshal(Envelope[any]{Schema: schema, Data: a})
	}
	return json.Marshal(Envelope[any]{Schema: recordSchema, Data: v})
}

// Decode reads the stored form of a resource.
func Decode[T any](r store.Record) (T, error) {
	v, _, err := open[T](r, recordSchema)
	return v, err
}

// open is Decode of a kind whose latest schema that is known is another one.
func open[T any](r store.Record, known int) (v T, schema int, err error) {
	var e Envelope[*T]
	err = json.Unmarshal(r.Value, &e)
	switch {
	case e.Schema > known: // also where a later program has other data
		return v, e.Schema, later{r.Key, e.Schema, known}
	case err != nil:
		return v, e.Schema, fmt.Errorf("record %s is damaged: %w", r.Key, err)
	case e.Schema < recordSchema:
		return v, e.Schema, fmt.Errorf("record %s is damaged: it has no schema", r.Key)
	case e.Data == nil:
		return v, e.Schema, fmt.Errorf("record %s is damaged: it is empty", r.Key)
	}
	return *e.Data, e.Schema, nil
}

// later refuses a record by the latest schema of its kind that is known.
type later struct {
	key           string
	schema, known int
}

func (l later) Error() string {
	return fmt.Sprintf("record %s has schema %d, this program knows %d: run the newer openimds", l.key, l.schema, l.known)
}

// IsLater says whether a record cannot be read because a later release has written it: it is not damaged, and not this
// program's to delete.
func IsLater(err error) bool {
	_, is := errors.AsType[later](err)
	return is
}

// DecodeAlarm reads an alarm's record, for those who watch the alarms.
func DecodeAlarm(r store.Record) (*openimds.Alarm, error) {
	alarm, err := Decode[*openimds.Alarm](r)
	if err == nil && alarm == nil {
		err = fmt.Errorf("record %s is damaged: it is empty", r.Key)
	}
	return alarm, err
}
