package control_test

import (
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// An interruption is over once the instance has begun another life; what is not of the instance's own
// making stays.
func TestEventsOfALife(t *testing.T) {
	f, ctx := newFixture(t, nil), t.Context()
	f.create("web")
	soon := f.clock().Add(2 * time.Minute)
	_, err := f.UpdateEvents(ctx, "web", control.EventsUpdate{
		Spot: &openimds.SpotInterruption{Action: "stop", Time: soon}, RebalanceAt: &soon, LifecycleState: new("InService"),
		Maintenance: &openimds.MaintenanceEvent{Code: "instance-stop", NotBefore: soon},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name   string
		do     func() error
		stands bool // the interruption
	}{
		{"reboot", func() error { _, err := f.RebootInstance(ctx, "web"); return err }, true},
		{"start of what runs", func() error { _, err := f.StartInstance(ctx, "web"); return err }, true},
		{"stop", func() error { _, err := f.StopInstance(ctx, "web"); return err }, true},
		{"start", func() error { _, err := f.StartInstance(ctx, "web"); return err }, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		e := f.get("web").Events
		if (e.Spot != nil) != step.stands || e.RebalanceAt.IsZero() == step.stands || e.LifecycleState != "InService" || len(e.Maintenance) != 1 {
			t.Errorf("after a %s: %+v", step.name, e)
		}
	}
}
