package storelog

import (
	"context"
	"time"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// maxForgotten is how many changes one commit of Forget has, beside those of one record: etcd takes 128 unless told otherwise.
const maxForgotten = 60

// Forget drops what is older than olderThan, and of changes and of the rest what is before the latest keep records. Those
// who fill the log with refusals so drive out no change. It begins to be true of then what the log says of since when it
// has all before anything is dropped.
func (l *Log) Forget(ctx context.Context, now time.Time, olderThan time.Duration, keep int) error {
	for prefix, since := range map[string]string{records.AuditPrefix: records.AuditSinceKey, records.AuditOtherPrefix: records.AuditOtherSinceKey} {
		after, err := store.Nth(ctx, l.store, prefix, keep)
		if err != nil {
			return err
		}
		if old := prefix + records.AuditMarkBefore(now.Add(-olderThan)); after == "" || old < after {
			after = old
		}
		if err := l.drop(ctx, prefix, since, after); err != nil {
			return err
		}
	}
	return nil
}

// drop deletes the records behind a key.
func (l *Log) drop(ctx context.Context, prefix, since, after string) error {
	for begun := false; ; {
		page, err := l.store.List(ctx, store.Range{Prefix: prefix, After: after, Limit: atOnce})
		if err != nil {
			return err
		}
		var changes []store.Change
		for i, record := range page.Records {
			after = record.Key
			entries, _ := l.entriesOf(ctx, record) // one that cannot be read leaves what is listed by resource
			if !begun {
				if err := l.begins(ctx, since, records.AuditTime(record.Key[len(prefix):])); err != nil {
					return err
				}
				begun = true
			}
			changes = append(changes, store.Change{Verb: store.Delete, Key: record.Key, If: store.Whatever})
			seen := map[string]bool{}
			for _, e := range entries {
				if prefix == records.AuditPrefix && records.AuditIndexed(e.Resource) && !seen[e.Resource] {
					seen[e.Resource] = true
					changes = append(changes, store.Change{Verb: store.Delete, Key: records.AuditOfKey(e.Resource, record.Key[len(prefix):]), If: store.Whatever})
				}
			}
			if len(changes) < maxForgotten && i < len(page.Records)-1 {
				continue
			}
			if _, err := l.store.Commit(ctx, changes...); err != nil {
				return err
			}
			changes = nil
		}
		if !page.More {
			return nil
		}
	}
}

// begins writes down that only what came after then is all there.
func (l *Log) begins(ctx context.Context, key string, then time.Time) error {
	was, err := l.since(ctx, key)
	if err != nil || !was.Before(then) {
		return err
	}
	value, err := records.Encode(then)
	if err != nil {
		return err
	}
	_, err = l.store.Commit(ctx, store.Change{Verb: store.Put, Key: key, Value: value, If: store.Whatever})
	return err
}
