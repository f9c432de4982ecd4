package control_test

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

func updateFaults(f *fixture, u control.FaultsUpdate) *openimds.Faults {
	f.t.Helper()
	ops, err := one(f.UpdateFaults(f.t.Context(), "web", u))
	done(f.t, ops, err, "UpdateInstanceFaults web")
	return f.get("web").Faults
}

// TestUpdateFaults makes one change after the other, and looks at what is on after each.
func TestUpdateFaults(t *testing.T) {
	type update = control.FaultsUpdate
	type faults = openimds.Faults
	f := newFixture(t, nil)
	f.create("web")
	for _, step := range []struct {
		update update
		want   *faults
		words  string
	}{
		{update{}, nil, "off"},
		{update{LatencyMillis: new(200)}, &faults{On: "all", LatencyMillis: 200}, "latency 200ms"},
		{update{JitterMillis: new(50)}, &faults{On: "all", LatencyMillis: 200, JitterMillis: 50}, "latency 200ms ± 50ms"},
		{update{Status: new(503)}, &faults{On: "all", LatencyMillis: 200, JitterMillis: 50, Status: 503, StatusShare: 1}, "latency 200ms ± 50ms, status 503 for 100%"},
		{update{LatencyMillis: new(0), StatusShare: new(0.25)}, &faults{On: "all", Status: 503, StatusShare: 0.25}, "status 503 for 25%"},
		{update{Status: new(500)}, &faults{On: "all", Status: 500, StatusShare: 0.25}, "status 500 for 25%"},
		{update{RefuseShare: new(0.75), On: new(openimds.FaultsOnToken)}, &faults{On: "token", Status: 500, StatusShare: 0.25, RefuseShare: 0.75}, "status 500 for 25%, 75% refused (token requests only)"},
		{update{Status: new(0), ExpiredCredentials: new(true)}, &faults{On: "token", RefuseShare: 0.75, ExpiredCredentials: true}, "75% refused (token requests only), expired credentials"},
		{update{RefuseShare: new(0.0)}, &faults{On: "all", ExpiredCredentials: true}, "expired credentials"},
		{update{Status: new(404)}, &faults{On: "all", Status: 404, StatusShare: 1, ExpiredCredentials: true}, "status 404 for 100%, expired credentials"},
		{update{StatusShare: new(0.0), ExpiredCredentials: new(false)}, nil, "off"},
		{update{LatencyMillis: new(300_000), JitterMillis: new(300_000)}, &faults{On: "all", LatencyMillis: 300_000, JitterMillis: 300_000}, "latency 5m ± 5m"},
		{update{Clear: true, RefuseShare: new(1.0), On: new(openimds.FaultsOnData)}, &faults{On: "data", RefuseShare: 1}, "100% refused (data requests only)"},
		{update{Clear: true}, nil, "off"},
		{update{LatencyMillis: new(200), Share: new(0.25)}, &faults{On: "all", LatencyMillis: 200, LatencyShare: 0.25}, "latency 200ms for 25%"},
		{update{Status: new(503)}, &faults{On: "all", LatencyMillis: 200, LatencyShare: 0.25, Status: 503, StatusShare: 1}, "latency 200ms for 25%, status 503 for 100%"},
		{update{Share: new(0.5)}, &faults{On: "all", LatencyMillis: 200, LatencyShare: 0.5, Status: 503, StatusShare: 0.5}, "latency 200ms for 50%, status 503 for 50%"},
		{update{LatencyMillis: new(0), Share: new(1.0)}, &faults{On: "all", Status: 503, StatusShare: 1}, "status 503 for 100%"},
		{update{LatencyMillis: new(10), JitterMillis: new(5), LatencyShare: new(1.0)}, &faults{On: "all", LatencyMillis: 10, JitterMillis: 5, Status: 503, StatusShare: 1}, "latency 10ms ± 5ms, status 503 for 100%"},
		{update{LatencyShare: new(0.0)}, &faults{On: "all", Status: 503, StatusShare: 1}, "status 503 for 100%"},
		{update{Share: new(0.0)}, nil, "off"},
		{update{DropShare: new(0.7), RefuseShare: new(0.2), Status: new(503), Share: new(0.1), On: new(openimds.FaultTarget("/latest/meta-data/iam/"))},
			&faults{On: "meta-data/iam", DropShare: 0.7, RefuseShare: 0.2, Status: 503, StatusShare: 0.1}, "status 503 for 10%, 20% refused, 70% dropped (requests of meta-data/iam only)"},
		{update{On: new(openimds.FaultTarget("2021-03-23/user-data"))}, &faults{On: "user-data", DropShare: 0.7, RefuseShare: 0.2, Status: 503, StatusShare: 0.1}, "status 503 for 10%, 20% refused, 70% dropped (requests of user-data only)"},
		{update{Clear: true, DropShare: new(1.0), On: new(openimds.FaultTarget("latest/api/token"))}, &faults{On: "token", DropShare: 1}, "100% dropped (token requests only)"},
		{update{Clear: true}, nil, "off"},
	} {
		if got := updateFaults(f, step.update); !reflect.DeepEqual(got, step.want) || got.String() != step.words {
			t.Errorf("%+v: got %+v (%v), want %+v (%s)", step.update, got, got, step.want, step.words)
		}
	}
}

// What is refused changes nothing and says what is wrong.
func TestFaultsRefused(t *testing.T) {
	type update = control.FaultsUpdate
	for _, tt := range []struct {
		update update
		words  string
	}{
		{update{On: new(openimds.FaultTarget("meta-data/%69am"))}, `The requests that faults are for must be a path as it is, not as in a URL: "meta-data/iam", not "meta-data/%69am"`},
		{update{LatencyMillis: new(-1)}, "The latency must be 0 to 5m"},
		{update{LatencyMillis: new(300_001)}, "The latency must be 0 to 5m, not 5m0.001s"},
		{update{JitterMillis: new(-1)}, "The jitter must be 0 to the latency"},
		{update{JitterMillis: new(101)}, "The jitter must be 0 to the latency of 100ms, not 101ms"},
		{update{Status: new(200)}, "from 400 to 599, not 200"},
		{update{Status: new(302)}, "from 400 to 599, not 302"},
		{update{Status: new(499)}, "from 400 to 599, not 499"},
		{update{Status: new(-503)}, "not -503"},
		{update{StatusShare: new(0.5)}, "needs the status"},
		{update{Clear: true, LatencyShare: new(0.5)}, "needs the latency"},
		{update{Clear: true, LatencyShare: new(1.0)}, "needs the latency"},
		{update{Clear: true, Share: new(0.5)}, "needs the latency or the status that it is of"},
		{update{Clear: true, RefuseShare: new(1.0), Share: new(0.5)}, "needs the latency or the status that it is of"},
		{update{Status: new(503), Share: new(0.5), StatusShare: new(0.5)}, "given twice"},
		{update{LatencyMillis: new(1), Share: new(1.5)}, "The share of requests that are held back must be 0 to 1"},
		{update{DropShare: new(1.5)}, "The share of connections that are dropped must be 0 to 1"},
		{update{DropShare: new(0.6), RefuseShare: new(0.5)}, "must not come to more than 1"},
		{update{ForMillis: new(-1)}, "can end in 1 to 604800000 milliseconds"},
		{update{ForMillis: new(604_800_001)}, "can end in 1 to 604800000 milliseconds"},
		{update{Clear: true, ForMillis: new(1000)}, "No fault is on that could end in 1s"},
		{update{Count: new(-1)}, "can end after 1 to 1000000000 requests"},
		{update{Count: new(1_000_000_001)}, "can end after 1 to 1000000000 requests"},
		{update{Clear: true, Count: new(1)}, "none of these is on"},
		{update{Clear: true, Count: new(1), ExpiredCredentials: new(true)}, "none of these is on"},
		{update{On: new(openimds.FaultTarget("tokens"))}, "or a path such as meta-data/iam, not \"tokens\""},
		{update{On: new(openimds.FaultTarget("/token"))}, "or a path such as meta-data/iam"},
		{update{On: new(openimds.FaultTarget(""))}, "or a path such as meta-data/iam"},
		{update{On: new(openimds.FaultTarget("/latest/"))}, "or a path such as meta-data/iam"},
		{update{On: new(openimds.FaultTarget("meta-data/../iam"))}, "or a path such as meta-data/iam"},
		{update{On: new(openimds.FaultTarget("meta-data/\x1b[2J"))}, "or a path such as meta-data/iam"},
		{update{On: new(openimds.FaultTarget("no-such/path"))}, "or a path such as meta-data/iam"},
		{update{Status: new(503), StatusShare: new(1.01)}, "The share of requests that fail must be 0 to 1"},
		{update{Status: new(503), StatusShare: new(-0.1)}, "The share of requests that fail must be 0 to 1"},
		{update{Status: new(503), StatusShare: new(math.NaN())}, "The share of requests that fail must be 0 to 1"},
		{update{RefuseShare: new(math.NaN())}, "The share of connections that are refused must be 0 to 1"},
		{update{RefuseShare: new(math.Inf(1))}, "The share of connections that are refused must be 0 to 1"},
		{update{Status: new(503), StatusShare: new(0.6), RefuseShare: new(0.5)}, "must not come to more than 1"},
		{update{AbsentSeconds: new(-1)}, "absent for 0 to 3600 seconds"},
		{update{AbsentSeconds: new(3601)}, "absent for 0 to 3600 seconds"},
		{update{On: new(openimds.FaultTarget("none"))}, "must be one of [all token data] or a path"},
		{update{Clear: true, On: new(openimds.FaultsOnToken)}, "Faults on token requests are"},
		{update{Clear: true, On: new(openimds.FaultsOnToken), ExpiredCredentials: new(true)}, "Faults on token requests are"},
	} {
		f := newFixture(t, nil)
		f.create("web")
		before := updateFaults(f, update{LatencyMillis: new(100)})
		_, err := f.UpdateFaults(t.Context(), "web", tt.update)
		if openimds.KindOf(err) != openimds.InvalidInput || !strings.Contains(err.Error(), tt.words) {
			t.Errorf("%+v: %v, want %q", tt.update, err, tt.words)
		}
		if got := f.get("web").Faults; *got != *before {
			t.Errorf("%+v left %+v", tt.update, got)
		}
	}
	f := newFixture(t, nil)
	if _, err := f.UpdateFaults(t.Context(), "nobody", update{}); openimds.KindOf(err) != openimds.NotFound {
		t.Errorf("an instance that is not there: %v", err)
	}
}

// Faults stay over stops and reboots, which begin the absence anew; a new instance has none.
func TestFaultsOfALife(t *testing.T) {
	f, ctx := newFixture(t, nil), t.Context()
	f.create("web")
	f.sleep(time.Minute)
	launched := f.get("web").LaunchedAt
	on := updateFaults(f, control.FaultsUpdate{AbsentSeconds: new(30), RefuseShare: new(0.5)})
	if !on.AbsentUntil.Equal(launched.Add(30 * time.Second)) {
		t.Errorf("absent until %v, want half a minute after %v", on.AbsentUntil, launched)
	}
	for name, begin := range map[string]func() error{
		"start": func() error {
			if _, err := f.StopInstance(ctx, "web"); err != nil {
				return err
			}
			_, err := f.StartInstance(ctx, "web")
			return err
		},
		"reboot": func() error { _, err := f.RebootInstance(ctx, "web"); return err },
	} {
		f.sleep(time.Hour)
		before, modified := f.clock(), f.get("web").ModifiedAt
		if err := begin(); err != nil {
			t.Fatal(err)
		}
		in := f.get("web")
		if d := in.Faults.AbsentUntil.Sub(before); d < 30*time.Second || d > 31*time.Second || in.Faults.RefuseShare != 0.5 {
			t.Errorf("%s: %+v, absent for another %v", name, in.Faults, d)
		}
		if name == "reboot" && !in.ModifiedAt.Equal(modified) {
			t.Error("a reboot changed what the guest reads")
		}
	}
	until := f.get("web").Faults.AbsentUntil
	if on := updateFaults(f, control.FaultsUpdate{RefuseShare: new(0.1)}); !on.AbsentUntil.Equal(until) {
		t.Errorf("another change moved the end of the absence to %v", on.AbsentUntil)
	}
	if on := updateFaults(f, control.FaultsUpdate{AbsentSeconds: new(0)}); !on.AbsentUntil.IsZero() {
		t.Errorf("absent until %v after the end of it", on.AbsentUntil)
	}
	if _, err := f.DeleteInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	f.create("web")
	if in := f.get("web"); in.Faults != nil {
		t.Errorf("a new instance has %v", in.Faults)
	}
}
