package store_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// commits notes how large commits are, and has the nth fail if that is said.
type commits struct {
	store.Store
	sizes []int
	fail  int // 0: none
}

func (c *commits) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	c.sizes = append(c.sizes, len(changes))
	if len(c.sizes) == c.fail {
		return 0, errAway
	}
	return c.Store.Commit(ctx, changes...)
}

// TestCommitEach: many changes are a few commits that any store takes, in their order; a conflict is told to
// those of its commit and stops no other, and after a failure nothing more is tried.
func TestCommitEach(t *testing.T) {
	const all = 250
	for name, c := range map[string]struct {
		conflict, fail int    // the change that has a conflict; the commit that fails
		size           int    // of each value
		outcomes       string // of the first, the last and of the one in the middle: done, conflict or nothing
		commits        int
		err            error
	}{
		"good":     {conflict: -1, outcomes: "ddd", commits: 3},
		"large":    {conflict: -1, size: 100 << 10, outcomes: "ddd", commits: 50},
		"conflict": {conflict: 150, outcomes: "ddc", commits: 3, err: store.ErrConflict},
		"away":     {conflict: -1, fail: 2, outcomes: "d--", commits: 2, err: errAway},
		"both":     {conflict: 0, fail: 3, outcomes: "c-d", commits: 3, err: errAway},
	} {
		t.Run(name, func(t *testing.T) {
			kept := &commits{Store: mem.New(), fail: c.fail}
			outcomes := make([]byte, all)
			var writes []store.Write
			for i := range all {
				outcomes[i] = '-'
				condition := store.IfAbsent
				if i == c.conflict {
					condition = 1 << 40
				}
				writes = append(writes, store.Write{
					Change:   store.Change{Key: fmt.Sprintf("key/%03d", i), Value: make([]byte, c.size), If: condition},
					Done:     func(int64) { outcomes[i] = 'd' },
					Conflict: func() { outcomes[i] = 'c' },
				})
			}
			err := store.CommitEach(t.Context(), kept, writes)
			if !errors.Is(err, c.err) || (err != nil) != (c.err != nil) {
				t.Errorf("it says %v, not %v", err, c.err)
			}
			if got := string([]byte{outcomes[0], outcomes[all-1], outcomes[all/2]}); got != c.outcomes {
				t.Errorf("the outcomes are %q, not %q", got, c.outcomes)
			}
			if len(kept.sizes) != c.commits {
				t.Errorf("%d commits of %v changes, not %d", len(kept.sizes), kept.sizes, c.commits)
			}
			for _, n := range kept.sizes {
				if n > 100 {
					t.Errorf("a commit has %d changes", n)
				}
			}
		})
	}
	if err := store.CommitEach(t.Context(), mem.New(), nil); err != nil {
		t.Errorf("nothing to commit: %v", err)
	}
}
