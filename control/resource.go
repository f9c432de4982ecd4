package control

import (
	"context"
	"errors"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// resourceTypes lists the types among which a name is unique.
func resourceTypes() []openimds.ResourceType {
	return []openimds.ResourceType{openimds.TypeInstance, openimds.TypeKeyPair, openimds.TypeStaticIP, openimds.TypeAlarm}
}

// find reads one resource, and its record as the state to compare with.
func find[T any](ctx context.Context, s store.Store, t openimds.ResourceType, name string) (T, store.Record, error) {
	var none T
	if err := openimds.ValidateName(name); err != nil {
		return none, store.Record{}, err
	}
	r, err := s.Get(ctx, records.Key(t, name))
	if errors.Is(err, store.ErrNoRecord) {
		return none, store.Record{}, doesNotExist(t, name)
	}
	if err != nil {
		return none, store.Record{}, storeFailed(err)
	}
	v, err := read[T](r)
	return v, r, err
}

// read decodes a resource's record, an instance's with the care that [records.DecodeInstance] takes.
func read[T any](r store.Record) (T, error) {
	var v T
	var err error
	if in, ok := any(&v).(**openimds.Instance); ok {
		*in, err = records.DecodeInstance(r)
	} else {
		v, err = records.Decode[T](r)
	}
	if err != nil {
		return v, broken(err)
	}
	return v, nil
}

// list reads a page of the resources of one type, by name, and tells the name to go on behind; it
// is empty at the end.
func list[T any](ctx context.Context, s store.Store, t openimds.ResourceType, after string, limit int) ([]T, string, error) {
	r := store.Range{Prefix: records.Prefix(t), Limit: limit}
	if after != "" {
		r.After = records.Key(t, after)
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
		next = strings.TrimPrefix(page.Records[len(page.Records)-1].Key, records.Prefix(t))
	}
	return values, next, nil
}

func doesNotExist(t openimds.ResourceType, name string) *openimds.Error {
	return openimds.Errorf(openimds.NotFound, openimds.DoesNotExist, "The %s %s does not exist", t, name)
}

// storeFailed turns a store's failure into one that a client may retry.
func storeFailed(err error) error {
	if errors.Is(err, store.ErrFull) {
		return openimds.Errorf(openimds.Unavailable, openimds.StoreAway, "The store's disk is full, so nothing is changed: make room, or delete what is not needed").Because(err)
	}
	return openimds.Errorf(openimds.Unavailable, openimds.StoreAway, "The store is not available; try again").Because(err)
}

// broken turns a failure of the service itself into an error whose cause only the log is told.
func broken(err error) error {
	return openimds.Errorf(openimds.Internal, openimds.Broken, "Internal error").Because(err)
}
