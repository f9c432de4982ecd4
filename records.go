package openimds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Keys of the store. A resource's key is its kind and its name, so that a range lists one kind in
// the order of names, and the store's own conditions keep names unique.
const (
	InstancePrefix  = "instance/"
	OperationPrefix = "operation/"
	KeyPairPrefix   = "keypair/"
	StaticIPPrefix  = "staticip/"
)

// recordSchema is the version of the records that this program writes. A record of a later schema
// may hold a restriction that this program cannot carry out, so it is refused, never half-read.
const recordSchema = 1

type envelope[T any] struct {
	Schema int `json:"schema"`
	Data   T   `json:"data"`
}

// encode makes the stored form of a resource.
func encode[T any](v T) ([]byte, error) {
	return json.Marshal(envelope[T]{Schema: recordSchema, Data: v})
}

// decode reads the stored form of a resource.
func decode[T any](r Record) (T, error) {
	var e envelope[T]
	if err := json.Unmarshal(r.Value, &e); err != nil {
		return e.Data, fmt.Errorf("record %s is damaged: %w", r.Key, err)
	}
	if e.Schema != recordSchema {
		return e.Data, fmt.Errorf("record %s has schema %d, this program knows %d: run the newer openimds", r.Key, e.Schema, recordSchema)
	}
	return e.Data, nil
}

// DecodeInstance reads an instance's record and refuses one whose options cannot be carried out:
// the defaults are permissive, so a doubtful record must not fall back to them.
func DecodeInstance(r Record) (*Instance, error) {
	in, err := decode[*Instance](r)
	if err != nil {
		return nil, err
	}
	if in == nil {
		return nil, fmt.Errorf("record %s is damaged: it is empty", r.Key)
	}
	if err := in.Options.Validate(); err != nil {
		return nil, fmt.Errorf("record %s: %w", r.Key, err)
	}
	if len(in.TokenKey) != TokenKeySize {
		return nil, fmt.Errorf("record %s: the token key has %d bytes, not %d", r.Key, len(in.TokenKey), TokenKeySize)
	}
	return in, nil
}

// EncodeInstance makes the record that [DecodeInstance] reads.
func EncodeInstance(in *Instance) ([]byte, error) { return encode(in) }

// find reads one resource; what is the kind's name in messages ("Instance").
func find[T any](ctx context.Context, s Store, what, prefix, name string) (T, int64, error) {
	var none T
	r, err := s.Get(ctx, prefix+name)
	if errors.Is(err, ErrNoRecord) {
		return none, 0, Errorf(NotFound, "DoesNotExist", "The %s does not exist: %s", what, name)
	}
	if err != nil {
		return none, 0, storeFailed(err)
	}
	v, err := decode[T](r)
	if err != nil {
		return none, 0, &Error{Kind: Internal, Message: "Internal error", Err: err}
	}
	return v, r.Revision, nil
}

// storeFailed turns a store's failure into one that a client may retry.
func storeFailed(err error) error {
	return &Error{Kind: Unavailable, Message: "The store is not available; try again", Err: err}
}
