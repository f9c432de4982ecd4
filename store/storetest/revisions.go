package storetest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/openimds/openimds/store"
)

func testRevisions(t *testing.T, ctx context.Context, s store.Store) {
	var keys []string
	var want []int64
	for i := range 200 { // more than one transaction of any store takes
		key := fmt.Sprint("k", i)
		keys, want = append(keys, "not-"+key), append(want, 0)
		if i%2 == 0 {
			continue
		}
		revision, err := s.Commit(ctx, store.Change{Key: key, Value: []byte(key), If: store.IfAbsent})
		if err != nil {
			t.Fatal(err)
		}
		keys, want = append(keys, key), append(want, revision)
	}
	if got, err := s.Revisions(ctx, keys...); err != nil || !slices.Equal(got, want) {
		t.Errorf("the revisions are %v (%v), not %v", got, err, want)
	}
	put(t, ctx, s, "k1", "another")
	if _, err := s.Commit(ctx, store.Change{Verb: store.Delete, Key: "k3", If: store.Whatever}); err != nil {
		t.Fatal(err)
	}
	now, err := s.Get(ctx, "k1")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Revisions(ctx, "k3", "k1"); err != nil || !slices.Equal(got, []int64{0, now.Revision}) {
		t.Errorf("after a change and a deletion: %v (%v)", got, err)
	}
	if got, err := s.Revisions(ctx); err != nil || len(got) != 0 {
		t.Errorf("the revisions of no keys are %v (%v)", got, err)
	}
}
