package migrate

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// judged is the verdict on an instance of a fleet now, by criteria that a plan without any has but for the window.
func judged(t *testing.T, p Provider, name string, c Criteria) Assessment {
	t.Helper()
	all, err := p.Instances(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range Status(t.Context(), p, all, c, time.Now()) {
		if a.Name == name {
			return a
		}
	}
	t.Fatalf("there is no %s", name)
	return Assessment{}
}

// Who was refused while tokens were required is in the way afterwards: an instance that was brought back is not ready
// because nobody's call was answered meanwhile.
func TestReturnedIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "aa")
		p, c := f.provider(), Criteria{Window: 10 * time.Minute}
		time.Sleep(30 * time.Minute)
		if a := judged(t, p, "aa", c); a.Verdict != Ready {
			t.Fatalf("before: %s: %s", a.Verdict, a.Reason)
		}
		plan, err := ParsePlan([]byte("plan: 1\nprovider: openimds\ncriteria: {window: 10m}\nhold: 1h\nwaves: [{name: rest, rest: true}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(5 * time.Second)
			f.guests["aa"].call(t, "curl/8")
		}()
		journal := journalIn(t)
		run, done := aRun(t, p, journal)
		err = run.Apply(t.Context(), plan)
		done()
		if got := kinds(t, journal, "aa"); !strings.HasSuffix(got, "returned") {
			t.Fatalf("%s: %v", got, err)
		}
		if a := judged(t, p, "aa", c); a.Verdict != NotYet || !strings.Contains(a.Reason, "1 call without a token") || !strings.Contains(a.Reason, "(1 refused), the last by") || !strings.Contains(a.Reason, "curl/8") {
			t.Errorf("after: %s: %s", a.Verdict, a.Reason)
		}
	})
}

// operation is one of the stand-in's.
func operation(what, status string, at time.Time) wire.Operation {
	return wire.Operation{OperationType: what, Status: status, CreatedAt: awsjson.Epoch{Time: at}}
}

// Where nobody counts refused calls, a zero proves nothing of the time before the options were changed, nor of a
// disabled endpoint; where they are counted it does, unless samples of that count are missing.
func TestShut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changed := operation("UpdateInstanceMetadataOptions", "Succeeded", time.Now().Add(-aDay))
		failed := operation("UpdateInstanceMetadataOptions", "Failed", time.Now().Add(-aDay))
		for name, c := range map[string]struct {
			rejects  bool
			endpoint string
			op       wire.Operation
			want     Verdict
			reason   string
		}{
			"never changed":              {false, "enabled", wire.Operation{}, Ready, ""},
			"a change that failed":       {false, "enabled", failed, Ready, ""},
			"changed":                    {false, "enabled", changed, Unknown, "may have been refused until"},
			"changed, refusals counted":  {true, "enabled", changed, Ready, ""},
			"disabled":                   {false, "disabled", wire.Operation{}, Unknown, "may have been refused until"},
			"disabled, refusals counted": {true, "disabled", wire.Operation{}, Ready, ""},
		} {
			s := newStandIn(0, c.rejects)
			s.add("web").options.HTTPEndpoint = openimds.EndpointMode(c.endpoint)
			if c.op.OperationType != "" {
				s.operations = []wire.Operation{c.op}
			}
			if a := judged(t, NewLightsail(newClient(t, s)), "web", DefaultCriteria()); a.Verdict != c.want || !strings.Contains(a.Reason, c.reason) {
				t.Errorf("%s: %s: %s", name, a.Verdict, a.Reason)
			}
		}
		points := []point{{start: noon}, {start: noon.Add(metricPeriod)}}
		if n, whole := refusedIn([]point{{noon, 2}}, points); n != 2 || whole {
			t.Errorf("half of the samples: %d, %v", n, whole)
		}
		if _, whole := refusedIn(nil, points); whole {
			t.Error("a metric without samples is taken for a zero")
		}
	})
}

// A start that failed or is under way is none.
func TestBoots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStandIn(0, true)
		s.add("web")
		for _, status := range []string{"Started", "Failed", "NotStarted", "Completed", "Succeeded"} {
			s.operations = append(s.operations, operation("StartInstance", status, time.Now().Add(-aDay)), operation("RebootInstance", status, time.Now().Add(-aDay)))
		}
		if a := judged(t, NewLightsail(newClient(t, s)), "web", DefaultCriteria()); a.Cycles.Boots != 4 {
			t.Errorf("%d boots, want 4", a.Cycles.Boots)
		}
	})
}

// The provider tells where the gaps are, with the samples at their ends, of which nobody knows how much was counted.
func TestGapsAreKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStandIn(0, true)
		begun := time.Now().Truncate(metricPeriod).AddDate(0, 0, -5)
		s.add("web").counted = func(at time.Time) bool { return at.Before(begun) || !at.Before(begun.Add(aDay)) }
		p := NewLightsail(newClient(t, s))
		all, err := p.Instances(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		calls, err := p.Calls(t.Context(), all[0], time.Now().Add(-14*aDay))
		if err != nil || calls.Missing != aDay+2*metricPeriod || len(calls.Gaps) != 1 || !calls.Gaps[0].Since.Equal(begun.Add(-metricPeriod)) || !calls.Gaps[0].Until.Equal(begun.Add(aDay+metricPeriod)) {
			t.Errorf("%+v, %v", calls, err)
		}
		if c := cyclesIn(calls); c.Days != 11 || c.Weeks != 1 {
			t.Errorf("%+v", c)
		}
	})
}

// callersOnly is a server that tells of two callers: of one all its life, and of the other in the window.
type callersOnly struct{ all, since []wire.MetadataCaller }

func (s callersOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	var q wire.GetCallersRequest
	_, target, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, err
	}
	switch {
	case target == "GetMetadataCounts":
		return answerOf(http.StatusOK, wire.GetMetadataCountsResult{Counts: []wire.MetadataCounts{{InstanceName: "web"}}}), nil
	case target == "GetOperationsForResource":
		return answerOf(http.StatusOK, wire.GetOperationsResult{}), nil
	case target == "GetCallers" && q.Since != nil:
		return answerOf(http.StatusOK, wire.GetCallersResult{Callers: s.since}), nil
	}
	return answerOf(http.StatusOK, wire.GetCallersResult{Callers: s.all}), nil
}

// Software that lost its token when it began goes on without one for as long as it runs: it stays a victim of the hop
// limit when that was before the window.
func TestLostBeforeTheWindow(t *testing.T) {
	asks := wire.MetadataCaller{
		Source: "10.0.0.2", UserAgent: "boto3/1.34", PathGroup: "api/token", Counts: map[string]int64{openimds.MetricTokenUndelivered: 1},
		TokenUndelivered: &wire.UndeliveredToken{Time: awsjson.Epoch{Time: noon.Add(-20 * aDay)}, HopLimit: 1, NeededHopLimit: 2, CurrentHopLimit: 1},
	}
	falls := wire.MetadataCaller{Source: "10.0.0.2", UserAgent: "boto3/1.34", PathGroup: "meta-data/iam", Counts: map[string]int64{openimds.MetricNoToken: 9}, LastWithoutToken: awsjson.At(noon)}
	p := NewOpenIMDS(newClient(t, callersOnly{[]wire.MetadataCaller{asks, falls}, []wire.MetadataCaller{falls}}))
	calls, err := p.Calls(t.Context(), Instance{Ref: Ref{Name: "web"}}, noon.Add(-14*aDay))
	if err != nil {
		t.Fatal(err)
	}
	if v1, victims := tellApart(calls.Callers, 1); len(v1) != 0 || len(victims) != 1 || victims[0].NoToken != 9 || victims[0].NeededHopLimit != 2 {
		t.Errorf("callers of v1: %+v, victims: %+v", v1, victims)
	}
}

// What is misspelt in an exception would except nobody, and is told with its line.
func TestIdleExceptions(t *testing.T) {
	all := []Instance{{Ref: Ref{"r", "web-1", "1"}, Tags: map[string]string{"env": "prod"}}, {Ref: Ref{"r", "db-1", "2"}}}
	for selector, want := range map[string]string{
		"names: ['web-*'], tags: [env=prod]":  "",
		"names: ['wbe-*']":                    `line 5: the exception of ops is for "wbe-*", which no instance is called`,
		"names: [web-1, 'd-*']":               `"d-*"`,
		"tags: [env=prdo]":                    `line 5: the exception of ops is for the tag "env=prdo", which no instance has`,
		"tags: [env=prod, evn]":               `"evn"`,
		"names: ['db-*'], tags: ['env=prod']": "line 5: no instance has one of the names and one of the tags",
	} {
		plan, err := ParsePlan([]byte("plan: 1\nprovider: openimds\nwaves: [{name: rest, rest: true}]\nexceptions:\n- {" + selector + ", owner: ops, until: 2030-01-01}\n"))
		if err != nil {
			t.Fatal(err)
		}
		switch _, err := plan.Crews(all); {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", selector, err)
		}
	}
}

// A window of nothing makes everything ready.
func TestNoWindow(t *testing.T) {
	for _, window := range []string{"0d", "0s", "'0d0h'"} {
		_, err := ParsePlan([]byte("plan: 1\nprovider: openimds\ncriteria:\n  window: " + window + "\nwaves: [{name: rest, rest: true}]\n"))
		if err == nil || !strings.Contains(err.Error(), "line 4: the window is longer than nothing") {
			t.Errorf("%s: %v", window, err)
		}
	}
}
