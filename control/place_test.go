package control_test

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// TestPlaceIsTakenOnce has many instances attached to one place at the same moment: one gets it. When
// it is free again, the next one does.
func TestPlaceIsTakenOnce(t *testing.T) {
	f := newAttaching(t, 16)
	for round := range 5 {
		var won atomic.Pointer[string]
		var refused atomic.Int64
		var attaching sync.WaitGroup
		for i := range 16 {
			attaching.Go(func() {
				name := fmt.Sprintf("web-%d", i)
				_, err := f.AttachInstance(t.Context(), openimds.Attachment{Instance: name, Netns: "box"})
				switch {
				case err == nil && won.Swap(&name) != nil:
					t.Errorf("round %d: a second instance is attached to the place", round)
				case err != nil && strings.Contains(err.Error(), "is attached to that place"):
					refused.Add(1)
				case err != nil:
					t.Error(err)
				}
			})
		}
		attaching.Wait()
		if won.Load() == nil || refused.Load() != 15 {
			t.Fatalf("round %d: %d were refused, of 16 for one place", round, refused.Load())
		}
		var err error
		if round < 4 {
			_, err = f.DetachInstance(t.Context(), *won.Load())
		} else {
			_, err = f.DeleteInstance(t.Context(), *won.Load())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.AttachInstance(t.Context(), openimds.Attachment{Instance: "free", Netns: "box"}); err != nil {
		t.Error(err)
	}
}

// TestPlaceIsShared: sources tell the callers of an interface apart, and each leaves by itself.
func TestPlaceIsShared(t *testing.T) {
	f := newAttaching(t, 3)
	attach := func(i int, source string) error {
		a := openimds.Attachment{Instance: fmt.Sprintf("web-%d", i), Interface: "br0"}
		if source != "" {
			a.Sources = []netip.Prefix{netip.MustParsePrefix(source)}
		}
		_, err := f.AttachInstance(t.Context(), a)
		return err
	}
	refused := func(err error, by string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "The instance "+by+" is attached to that place") {
			t.Errorf("%v, want that %s is attached there", err, by)
		}
	}
	for i, source := range []string{"10.0.0.1/32", "10.0.0.2/32"} {
		if err := attach(i, source); err != nil {
			t.Fatal(err)
		}
	}
	refused(attach(2, "10.0.0.0/24"), "web-0")
	refused(attach(2, ""), "web-0")
	if _, err := f.DetachInstance(t.Context(), "web-0"); err != nil {
		t.Fatal(err)
	}
	refused(attach(2, "10.0.0.2/31"), "web-1")
	if err := attach(2, "10.0.0.1/32"); err != nil {
		t.Error(err)
	}
}

// TestPlaceOfALostAttachment: a place that nobody is attached to any more is free, whatever its record says.
func TestPlaceOfALostAttachment(t *testing.T) {
	f := newAttaching(t, 2)
	if _, err := f.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-0", Interface: "tap0"}); err != nil {
		t.Fatal(err)
	}
	lost := store.Change{Verb: store.Delete, Key: records.AttachmentPrefix + "web-0", If: store.Whatever}
	if _, err := f.store.Commit(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	if _, err := f.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-1", Interface: "tap0"}); err != nil {
		t.Error(err)
	}
}

// TestAttachment: the attachment of one instance is its own, and that of another one is none.
func TestAttachment(t *testing.T) {
	f := newAttaching(t, 2)
	if _, err := f.AttachInstance(t.Context(), openimds.Attachment{Instance: "web-0", Interface: "tap0"}); err != nil {
		t.Fatal(err)
	}
	if a, err := f.Attachment(t.Context(), "web-0"); err != nil || a == nil || a.Instance != "web-0" || a.Interface != "tap0" {
		t.Errorf("%+v, %v", a, err)
	}
	if a, err := f.Attachment(t.Context(), "web-1"); err != nil || a != nil {
		t.Errorf("%+v, %v", a, err)
	}
}

// carried stands for a host that carries attachments out.
type carried struct{}

func (carried) Guarded() []openimds.GuardedPlace { return nil }

func (carried) Release([]string) ([]openimds.GuardedPlace, error) { return nil, nil }

func (carried) Status(string, time.Time) (openimds.AttachmentStatus, bool) {
	return openimds.AttachmentStatus{}, false
}

// newAttaching makes a service that attaches, with the instances web-0 and so on, and free.
func newAttaching(t *testing.T, count int) *fixture {
	f := newFixture(t, func(cfg *control.Config, _ *store.Store) { cfg.Attachments = carried{} })
	names := []string{"free"}
	for i := range count {
		names = append(names, fmt.Sprintf("web-%d", i))
	}
	if _, err := f.CreateInstances(t.Context(), launch(names...)); err != nil {
		t.Fatal(err)
	}
	return f
}
