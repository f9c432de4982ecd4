package store

import (
	"context"
	"errors"
)

// How much one commit of [CommitEach] writes: enough to make the records of many instances a few commits,
// little enough for any store (etcd takes 128 operations and 1.5 MiB unless told otherwise).
const (
	eachRecords = 100
	eachBytes   = 512 << 10
)

// Write is a change that depends on no other, with who waits for its outcome.
type Write struct {
	Change
	// Done is told the revision of the commit that carried the change out.
	Done func(revision int64)
	// Conflict is told that a condition did not hold, the change's own or that of another in its commit:
	// nothing is known of the record any more.
	Conflict func()
}

// CommitEach carries out changes that do not depend on each other, in as few commits as stores take, and
// tells each of its outcome. It returns ErrConflict if some met a conflict, when all the others are carried
// out. Any other failure ends it; those whose commit failed so are told nothing, since its outcome is
// unknown.
func CommitEach(ctx context.Context, s Store, writes []Write) error {
	var conflict error
	for len(writes) > 0 {
		batch := writes[:portion(writes)]
		writes = writes[len(batch):]
		changes := make([]Change, len(batch))
		for i, w := range batch {
			changes[i] = w.Change
		}
		revision, err := s.Commit(ctx, changes...)
		switch {
		case err == nil:
			for _, w := range batch {
				w.Done(revision)
			}
		case errors.Is(err, ErrConflict):
			conflict = err
			for _, w := range batch {
				w.Conflict()
			}
		default:
			return err
		}
	}
	return conflict
}

// portion is how many of the writes go into one commit.
func portion(writes []Write) int {
	size := 0
	for n, w := range writes {
		size += len(w.Key) + len(w.Value)
		if n > 0 && (n == eachRecords || size > eachBytes) {
			return n
		}
	}
	return len(writes)
}
