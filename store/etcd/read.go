package etcd

import (
	"context"
	"errors"
	"slices"

	"github.com/openimds/openimds/store"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A listing is read in pages, all at the revision of the first: about so many bytes each, as far as the records before
// tell, so that no list has a member hold all of it at once.
const (
	pageRecords    = 256
	pageRecordsMax = 10_000
	pageBytes      = 1 << 20
)

func (s *Store) record(kv *mvccpb.KeyValue) store.Record {
	return store.Record{
		Key: string(kv.Key[len(s.root):]), Value: append([]byte{}, kv.Value...),
		Revision: kv.ModRevision, Lease: store.Lease(kv.Lease),
	}
}

// get reads a range by a request to the majority.
func (s *Store) get(ctx context.Context, key string, options ...clientv3.OpOption) (got *clientv3.GetResponse, err error) {
	err = s.repeat(ctx, func(ctx context.Context) (err error) {
		got, err = s.client.Get(ctx, key, options...)
		return err
	})
	return got, err
}

// Get implements [store.Store].
func (s *Store) Get(ctx context.Context, key string) (store.Record, error) {
	got, err := s.get(ctx, s.key(key))
	if err != nil {
		return store.Record{}, err
	}
	if len(got.Kvs) == 0 {
		return store.Record{}, store.ErrNoRecord
	}
	return s.record(got.Kvs[0]), nil
}

// Revisions implements [store.Store], by as many keys at a time as one transaction takes.
func (s *Store) Revisions(ctx context.Context, keys ...string) ([]int64, error) {
	all := make([]int64, 0, len(keys))
	for batch := range slices.Chunk(keys, maxChanges) {
		looks := make([]clientv3.Op, len(batch))
		for i, key := range batch {
			looks[i] = clientv3.OpGet(s.key(key), clientv3.WithKeysOnly())
		}
		var answer *clientv3.TxnResponse
		err := s.repeat(ctx, func(ctx context.Context) (err error) {
			answer, err = s.client.Txn(ctx).Then(looks...).Commit()
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, one := range answer.Responses {
			revision := int64(0)
			if there := one.GetResponseRange().Kvs; len(there) > 0 {
				revision = there[0].ModRevision
			}
			all = append(all, revision)
		}
	}
	return all, nil
}

// List implements [store.Store].
func (s *Store) List(ctx context.Context, r store.Range) (store.Page, error) {
	for {
		page, err := s.list(ctx, r)
		// Its revision was compacted while it was read: it is read anew, at a later one.
		if !errors.Is(err, store.ErrCompacted) {
			return page, err
		}
	}
}

func (s *Store) list(ctx context.Context, r store.Range) (page store.Page, err error) {
	from, end := s.key(r.Prefix), clientv3.GetPrefixRangeEnd(s.key(r.Prefix))
	if after := s.key(r.After) + "\x00"; r.After != "" && after > from {
		from = after
	}
	size := pageRecords
	for from < end {
		limit := size
		if r.Limit > 0 {
			limit = min(limit, r.Limit-len(page.Records))
		}
		what := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(int64(limit)), clientv3.WithRev(page.Revision)}
		if r.KeysOnly {
			what = append(what, clientv3.WithKeysOnly())
		}
		got, err := s.get(ctx, from, what...)
		if err != nil {
			return store.Page{}, err
		}
		if page.Revision == 0 {
			page.Revision = got.Header.Revision
		}
		bytes := 1
		for _, kv := range got.Kvs {
			page.Records = append(page.Records, s.record(kv))
			bytes += len(kv.Key) + len(kv.Value)
		}
		if !got.More || len(page.Records) == r.Limit {
			page.More = got.More
			return page, nil
		}
		from = string(got.Kvs[len(got.Kvs)-1].Key) + "\x00"
		size = max(1, min(pageRecordsMax, pageBytes*len(got.Kvs)/bytes))
	}
	if page.Revision == 0 { // nothing can be there: only the revision is asked for
		page.Revision, err = s.revision(ctx)
	}
	return page, err
}

// revision is the cluster's, as the majority has it now.
func (s *Store) revision(ctx context.Context) (int64, error) {
	got, err := s.get(ctx, s.root, clientv3.WithKeysOnly())
	if err != nil {
		return 0, err
	}
	return got.Header.Revision, nil
}
