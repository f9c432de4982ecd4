package control

import (
	"context"
	"errors"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// EnsureInstance returns the instance of that name, and creates it with the defaults, running at once, if the store
// holds no instance at all. In a store with others a missing name is an error: it is more likely
// misspelt than meant to be made.
//
// Errors: NotFound/DoesNotExist in a store with other instances; InvalidInput/NameTaken where something else has
// the name.
func (s *Service) EnsureInstance(ctx context.Context, name string) (*openimds.Instance, error) {
	in, err := s.Instance(ctx, name)
	if err == nil || openimds.KindOf(err) != openimds.NotFound {
		return in, err
	}
	notFound := err
	_, err = s.commit(ctx, "CreateInstances", func(d *draft) error {
		page, err := s.store.List(ctx, store.Range{Prefix: records.InstancePrefix, Limit: 1})
		if err != nil {
			return storeFailed(err)
		}
		if len(page.Records) > 0 {
			return notFound // or somebody else was first: the second look below tells
		}
		if err := s.refuseTaken(ctx, name); err != nil {
			return err
		}
		account, _, err := s.defaults(ctx)
		if err != nil {
			return err
		}
		defaults := s.carriedOut(account.Options)
		in = openimds.NewInstance(openimds.Launch{Name: name, Region: s.cfg.Region, Options: defaults}, d.now)
		if account.Enforced() { // refused, it would keep the server from starting
			in.Options.Tokens = openimds.TokensRequired
		}
		d.createInstance(in)
		d.operation(instanceOperation("CreateInstance", in))
		return nil
	})
	if err != nil && errors.Is(err, notFound) {
		return s.Instance(ctx, name)
	}
	return in, err
}

// Instance returns the instance of that name.
//
// Errors: NotFound/DoesNotExist.
func (s *Service) Instance(ctx context.Context, name string) (*openimds.Instance, error) {
	in, _, err := s.instance(ctx, name)
	return in, err
}

// Instances returns at most limit instances in the order of their names, beginning behind the name
// after, and the name to go on behind, which is empty at the end.
func (s *Service) Instances(ctx context.Context, after string, limit int) ([]*openimds.Instance, string, error) {
	all, next, err := list[*openimds.Instance](ctx, s.store, openimds.TypeInstance, after, limit)
	for _, in := range all {
		s.present(in)
	}
	return all, next, err
}

// instance reads an instance and the record to compare with. Whoever has its id calls it by that ([Service.ByID]).
func (s *Service) instance(ctx context.Context, name string) (*openimds.Instance, store.Record, error) {
	if s.byID {
		return s.instanceOfID(ctx, name)
	}
	in, was, err := find[*openimds.Instance](ctx, s.store, openimds.TypeInstance, name)
	s.present(in)
	return in, was, err
}

// putInstance writes an instance that was changed.
func (d *draft) putInstance(was store.Record, in *openimds.Instance) {
	in.ModifiedAt = d.now.Truncate(time.Second)
	d.put(was, in)
}

// noteInstance is putInstance for what follows from another change.
func (d *draft) noteInstance(was store.Record, in *openimds.Instance) {
	in.ModifiedAt = d.now.Truncate(time.Second)
	d.note(was, in)
}

func instanceOperation(what string, in *openimds.Instance) openimds.Operation {
	return openimds.Operation{Type: what, Resource: in.Name, ResourceType: openimds.TypeInstance, Zone: in.Zone}
}

// operationsOf takes the operations of a commit, or its error.
func operationsOf(d *draft, err error) ([]openimds.Operation, error) {
	if err != nil {
		return nil, err
	}
	return d.operations, nil
}
