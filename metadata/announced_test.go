package metadata_test

import (
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

// While something is announced to an instance, all of the tree says that it is an instance which that
// can happen to; with the announcement, that ends. A recording is told of it too.
func TestTheTreeAgreesWithAnnouncements(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 2, 0, 0, time.UTC)
	const absent = "(absent)"
	const (
		lifeCycle   = "latest/meta-data/instance-life-cycle"
		hibernation = "latest/meta-data/hibernation/configured"
		index       = "latest/meta-data/ami-launch-index"
		action      = "latest/meta-data/spot/instance-action"
		termination = "latest/meta-data/spot/termination-time"
	)
	quiet := map[string]string{lifeCycle: "on-demand", hibernation: absent, index: "2", action: absent, termination: absent}
	interruption := func(action string) openimds.Events {
		return openimds.Events{Spot: &openimds.SpotInterruption{Action: action, Time: at}}
	}
	for name, tt := range map[string]struct {
		events openimds.Events
		want   map[string]string // where it differs from quiet
	}{
		"nothing":     {openimds.Events{}, nil},
		"maintenance": {openimds.Events{Maintenance: []openimds.MaintenanceEvent{{Code: "instance-stop", State: "active", NotBefore: at}}}, nil},
		"stop":        {interruption("stop"), map[string]string{lifeCycle: "spot", action: `{"action": "stop", "time": "2026-03-01T12:02:00Z"}`}},
		"terminate": {interruption("terminate"), map[string]string{lifeCycle: "spot", action: `{"action": "terminate", "time": "2026-03-01T12:02:00Z"}`,
			termination: "2026-03-01T12:02:00Z"}},
		"hibernate": {interruption("hibernate"), map[string]string{lifeCycle: "spot", action: `{"action": "hibernate", "time": "2026-03-01T12:02:00Z"}`,
			hibernation: "true"}},
		"rebalance":         {openimds.Events{RebalanceAt: at}, map[string]string{lifeCycle: "spot"}},
		"Auto Scaling":      {openimds.Events{LifecycleState: "InService"}, map[string]string{index: "0"}},
		"a warm pool":       {openimds.Events{LifecycleState: "Warmed:Stopped"}, map[string]string{index: "0"}},
		"a hibernated pool": {openimds.Events{LifecycleState: "Warmed:Hibernated"}, map[string]string{index: "0", hibernation: "true"}},
		"hibernating":       {openimds.Events{LifecycleState: "Hibernated"}, map[string]string{index: "0", hibernation: "true"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := &metadata.View{Instance: newInstance("ipv4"), Now: now}
			v.Instance.LaunchIndex = 2
			before := recordingOf(t, v)
			replay := func() *metadata.View {
				in := *v.Instance
				in.Recording = before
				return &metadata.View{Instance: &in, Now: now, Recorded: metadata.NewRecorded(&in)}
			}
			check := func(when string, want map[string]string) {
				t.Helper()
				for path, usual := range quiet {
					expected := usual
					if special, ok := want[path]; ok {
						expected = special
					}
					for where, view := range map[string]*metadata.View{"table": v, "recording": replay()} {
						got := absent
						if it, ok := metadata.Get(view, path); ok {
							got = string(it.Body)
						}
						if got != expected {
							t.Errorf("%s, %s: %s is %s, want %s", when, where, path, got, expected)
						}
					}
				}
			}
			check("before", nil)
			v.Instance.Events = tt.events
			check("announced", tt.want)
			v.Instance.Events = openimds.Events{}
			check("taken back", nil)
		})
	}
}

// A recording of an interruption that is none any more must not stand beside a new one.
func TestAnnouncementsReplaceRecordedOnes(t *testing.T) {
	v := &metadata.View{Instance: newInstance("ipv4"), Now: now}
	v.Instance.Events.Spot = &openimds.SpotInterruption{Action: "terminate", Time: now.Add(time.Minute)}
	in := *v.Instance
	in.Recording = recordingOf(t, v)
	in.Events.Spot = &openimds.SpotInterruption{Action: "stop", Time: now.Add(time.Hour)}
	again := &metadata.View{Instance: &in, Now: now, Recorded: metadata.NewRecorded(&in)}
	if it, ok := metadata.Get(again, "latest/meta-data/spot/termination-time"); ok {
		t.Errorf("the end that was recorded is still announced: %s", it.Body)
	}
	if it, _ := metadata.Get(again, "latest/meta-data/spot"); string(it.Body) != "instance-action" {
		t.Errorf("spot/ lists %q", it.Body)
	}
}
