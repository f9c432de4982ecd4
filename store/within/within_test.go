package within_test

import (
	"testing"

	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/store/storetest"
	"github.com/openimds/openimds/store/within"
)

// closed closes the whole with its part.
type closed struct {
	store.Store
	whole store.Store
}

func (c closed) Close() error { return c.whole.Close() }

// TestPart: a part of a store is one by itself, whatever there is beside it.
func TestPart(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		whole := mem.New()
		for _, key := range []string{"a", "part", "part.", "part/ the other", "zz"} {
			if _, err := whole.Commit(t.Context(), store.Change{Key: key, Value: []byte("beside"), If: store.IfAbsent}); err != nil {
				t.Fatal(err)
			}
		}
		return closed{within.New(whole, "part/one/"), whole}
	})
}

func TestTwoParts(t *testing.T) {
	whole := mem.New()
	one, two := within.New(whole, "part/one/"), within.New(whole, "part/two/")
	for _, s := range []store.Store{one, two} {
		if _, err := s.Commit(t.Context(), store.Change{Key: "name", Value: []byte("x"), If: store.IfAbsent}); err != nil {
			t.Error("the other part's name is in the way:", err)
		}
		if page, err := s.List(t.Context(), store.Range{}); err != nil || len(page.Records) != 1 || page.Records[0].Key != "name" {
			t.Errorf("a part has %+v, %v", page.Records, err)
		}
	}
	if page, err := whole.List(t.Context(), store.Range{}); err != nil || len(page.Records) != 2 || page.Records[1].Key != "part/two/name" {
		t.Errorf("the whole has %+v, %v", page.Records, err)
	}
}
