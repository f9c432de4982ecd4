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

// TestSharedKeys: two parts have the records of shared keys in common, with the whole, in one commit with their own.
func TestSharedKeys(t *testing.T) {
	whole := mem.New()
	one, two := within.New(whole, "part/one/", "shared/"), within.New(whole, "part/two/", "shared/")
	changes := []store.Change{{Key: "own", Value: []byte("x"), If: store.IfAbsent}, {Key: "shared/a", Value: []byte("y"), If: store.IfAbsent}}
	if _, err := one.Commit(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Commit(t.Context(), changes...); err == nil {
		t.Error("a shared key is taken twice")
	}
	for _, s := range []store.Store{whole, one, two} {
		r, err := s.Get(t.Context(), "shared/a")
		page, lerr := s.List(t.Context(), store.Range{Prefix: "shared/"})
		seen, werr := s.Watch("shared/", 0).Next(t.Context())
		if err != nil || lerr != nil || werr != nil || r.Key != "shared/a" || len(page.Records) != 1 || len(seen) != 1 || seen[0].Key != "shared/a" {
			t.Errorf("a shared record is %+v, listed %+v, watched %+v: %v, %v, %v", r, page.Records, seen, err, lerr, werr)
		}
	}
	if _, err := two.Get(t.Context(), "own"); err == nil {
		t.Error("a part has the other's own record")
	}
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
