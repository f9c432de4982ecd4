package attach_test

import (
	"fmt"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// TestAmongMany: a host that is started again finds its own attachment among others', which fill more pages than one.
func TestAmongMany(t *testing.T) {
	f := newFleet(t)
	f.attach("one")
	first := f.await("one")
	var changes []store.Change
	for i := range 2500 {
		a := openimds.Attachment{Instance: fmt.Sprintf("others-%04d", i), Host: "other", Interface: fmt.Sprint("tap", i), CreatedAt: first.CreatedAt}
		value, err := records.Encode(&a)
		if err != nil {
			t.Fatal(err)
		}
		if changes = append(changes, store.Change{Key: records.AttachmentPrefix + a.Instance, Value: value, If: store.IfAbsent}); len(changes) < 100 {
			continue
		}
		if _, err := f.store.Commit(t.Context(), changes...); err != nil {
			t.Fatal(err)
		}
		changes = nil
	}
	f.hosts["one"].stop()
	again := f.start("one")
	f.change(func() { f.hosts["one"] = again })
	if in := f.await("one"); in.ID != first.ID {
		t.Errorf("%s is answered", in.ID)
	}
	f.never2()
}
