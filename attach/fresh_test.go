package attach

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// obeying are seats that obey the record of the store, as it is.
type obeying struct {
	store   store.Store
	awaited chan error
}

func (obeying) SeatAll(context.Context, []string) error { return nil }
func (obeying) Unseat(string) error                     { return nil }

func (o obeying) Await(ctx context.Context, name string, revision int64) error {
	r, err := o.store.Get(ctx, records.InstancePrefix+name)
	if err == nil && r.Revision < revision {
		<-ctx.Done() // nothing comes
		err = ctx.Err()
	}
	o.awaited <- err
	return err
}

// nowhere is a network that has nothing to do.
type nowhere struct{}

func (nowhere) Set([]hostnet.Endpoint) error                              { return nil }
func (nowhere) BindAttachments(context.Context, []openimds.Binding) error { return nil }

// In a copy of the store an instance's token key may have come by an earlier commit than the attachment of its new guest:
// that is what is waited for, and it is there.
func TestFreshInCopy(t *testing.T) {
	kept := mem.New()
	commit := func(changes ...store.Change) {
		t.Helper()
		if _, err := kept.Commit(t.Context(), changes...); err != nil {
			t.Fatal(err)
		}
	}
	instance := func() store.Change {
		t.Helper()
		value, err := records.EncodeInstance(&openimds.Instance{Name: "web", ID: "i-00000000000000001", Options: openimds.DefaultOptions(), TokenKey: openimds.NewTokenKey()})
		if err != nil {
			t.Fatal(err)
		}
		return store.Change{Key: records.InstancePrefix + "web", Value: value, If: store.Whatever}
	}
	attachment := func(at time.Time) store.Change {
		t.Helper()
		value, err := records.Encode(&openimds.Attachment{
			Instance: "web", Host: openimds.LocalHost, Interface: "tap0", CreatedAt: at, Bound: &openimds.Face{Boot: "b", Index: 7, Serial: 100},
		})
		if err != nil {
			t.Fatal(err)
		}
		return store.Change{Key: records.AttachmentPrefix + "web", Value: value, If: store.Whatever}
	}
	began := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	commit(instance(), attachment(began))
	seats := obeying{kept, make(chan error, 1)}
	a := New(Config{Store: kept, Binder: nowhere{}, Seats: seats, Host: nowhere{}, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { a.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	<-a.Settled()
	commit(instance())
	commit(attachment(began.Add(time.Hour)))
	if err := <-seats.awaited; err != nil {
		t.Errorf("the instance has its new token key, and is waited for: %v", err)
	}
}
