package control_test

import (
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

func TestStatusChecks(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	hour := func(metric string, end time.Time) ([]openimds.MetricPoint, error) {
		return f.MetricData(ctx, "web", metric, "Count", end.Add(-time.Hour), end, openimds.MetricPeriod)
	}
	check := func(when string, system, instance float64) {
		t.Helper()
		for metric, want := range map[string]float64{"StatusCheckFailed": max(system, instance), "StatusCheckFailed_System": system, "StatusCheckFailed_Instance": instance} {
			points, err := hour(metric, start.Add(time.Minute))
			if err != nil || len(points) != 1 || points[0].Sum != want || points[0].Samples != 1 {
				t.Errorf("%s: %s is %+v, %v, want %v", when, metric, points, err, want)
			}
		}
	}
	check("attached nowhere", 0, 0)
	if points, err := hour("StatusCheckFailed", start); err != nil || len(points) != 1 || !points[0].Start.Before(start) {
		t.Errorf("a time that ends now: %+v, %v", points, err)
	}
	const earlier = "What StatusCheckFailed was earlier is not kept: ask for a time that has the last 5 minutes"
	for _, end := range []time.Time{start.Add(-control.HealthWindow - time.Minute), start.Add(3 * time.Hour)} {
		_, err := hour("StatusCheckFailed", end)
		refused(t, err, openimds.OperationFailure, openimds.NotEnforced, earlier)
	}
	if _, err := f.StopInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	if points, err := hour("StatusCheckFailed", start.Add(time.Minute)); err != nil || len(points) != 0 {
		t.Errorf("of a stopped instance: %+v, %v", points, err)
	}
}

// TestStatusChecksOfAttached: the check fails until the host says that the guest is heard.
func TestStatusChecksOfAttached(t *testing.T) {
	h := newHosts(t)
	a := h.attach("web-0", "one", "tap0")
	sum := func(metric string) float64 {
		t.Helper()
		now := time.Now()
		points, err := h.api.MetricData(t.Context(), "web-0", metric, "Count", now.Add(-time.Hour), now.Add(time.Hour), time.Minute)
		if err != nil || len(points) != 1 {
			t.Fatalf("%s: %+v, %v", metric, points, err)
		}
		return points[0].Sum
	}
	if sum("StatusCheckFailed") != 1 || sum("StatusCheckFailed_System") != 1 || sum("StatusCheckFailed_Instance") != 0 {
		t.Error("nothing fails before the guest is heard")
	}
	h.report(h.one, attached(a))
	if sum("StatusCheckFailed") != 0 || sum("StatusCheckFailed_System") != 0 {
		t.Error("something fails though the guest is heard")
	}
	in, err := h.api.Instance(t.Context(), "web-0")
	if err != nil {
		t.Fatal(err)
	}
	if health, err := h.api.Health(t.Context(), in); err != nil || health != (control.Health{Checked: true}) {
		t.Errorf("one that is heard: %+v, %v", health, err)
	}
	lost := attached(a)
	lost.State, lost.Reason = "gone", "its link is away"
	h.report(h.one, lost)
	before := time.Now()
	health, err := h.api.Health(t.Context(), in)
	if err != nil || !health.Impaired || health.Since.Before(in.LaunchedAt) || health.Since.After(before) {
		t.Errorf("one whose link is away: %+v, %v", health, err)
	}
	in.State = openimds.StatePending
	if health, err := h.api.Health(t.Context(), in); err != nil || health.Checked {
		t.Errorf("one that is pending: %+v, %v", health, err)
	}
}
