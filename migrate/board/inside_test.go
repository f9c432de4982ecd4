package board

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store/mem"
)

// timed keeps until when the last operation may take.
type timed struct {
	api.Protocol
	until *time.Time
}

func (p timed) Read(r *http.Request, body []byte) (api.Operation, error) {
	op, err := p.Protocol.Read(r, body)
	run := op.Run
	op.Run = func(ctx context.Context) (any, error) {
		*p.until, _ = ctx.Deadline()
		return run(ctx)
	}
	return op, err
}

// TestTime: what a board asks for may take as long as what anybody else does.
func TestTime(t *testing.T) {
	s := control.New(mem.New(), control.Config{Region: "us-east-1", AccountID: "123456789012"})
	var until time.Time
	b, err := New(Config{Protocol: timed{lightsail.New(lightsail.Config{Service: s}), &until}, Region: "us-east-1", Account: "123456789012", Timeout: api.MaxTimeout})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	ctx := withAsker(t.Context(), sigv4.Identity{KeyID: "AKIAREADER", ReadOnly: true})
	if _, err := client.Call(ctx, b.api, wire.GetInstances, wire.GetInstancesRequest{}); err != nil {
		t.Fatal(err)
	}
	if allowed := until.Sub(began); allowed < api.MaxTimeout {
		t.Errorf("it may take %s, want %s", allowed, api.MaxTimeout)
	}
}

// A request from inside is whoever's the context says, with the rights that they have, and nobody's without: whatever signs
// it is not asked.
func TestInside(t *testing.T) {
	kept := mem.New()
	s := control.New(kept, control.Config{Region: "us-east-1", AccountID: "123456789012"})
	if _, err := s.EnsureInstance(t.Context(), "demo"); err != nil {
		t.Fatal(err)
	}
	b, err := New(Config{Protocol: lightsail.New(lightsail.Config{Service: s}), Region: "us-east-1", Account: "123456789012", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	reader := sigv4.Identity{KeyID: "AKIAREADER", Profile: "reader", ReadOnly: true}
	for name, ctx := range map[string]context.Context{"nobody": t.Context(), "one without a key": withAsker(t.Context(), sigv4.Identity{Profile: "x"})} {
		if _, err := client.Call(ctx, b.api, wire.GetInstances, wire.GetInstancesRequest{}); err == nil {
			t.Errorf("%s is answered", name)
		}
	}
	looks := withAsker(t.Context(), reader)
	if told, err := client.Call(looks, b.api, wire.GetInstances, wire.GetInstancesRequest{}); err != nil || len(told.Instances) != 1 {
		t.Errorf("who only looks is told %+v, %v", told, err)
	}
	if _, err := client.Call(looks, b.api, wire.RebootInstance, wire.InstanceRequest{InstanceName: "demo"}); err == nil {
		t.Error("who only looks changes something")
	}
	if _, err := b.MakeReport(t.Context(), reader, wire.ReportHTML); err == nil {
		t.Error("an installation without a key makes reports")
	}
	if told, err := b.Verdicts(t.Context(), reader, []string{"absent"}, 0); err != nil || len(told) != 0 {
		t.Errorf("of who is not there: %+v, %v", told, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := b.Verdicts(ended, reader, []string{"demo"}, 0); err == nil {
		t.Error("a request that is over has verdicts")
	}
	var _ api.Authenticator = asker{}
	var _ http.RoundTripper = inside{}
}
