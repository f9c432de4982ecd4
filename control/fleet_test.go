package control_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// counted is a history of a fleet that says what a test has told it.
type counted struct {
	openimds.MetricHistory
	sums map[string]openimds.MetricSum
	err  error
}

func (c counted) Sums(context.Context, string, time.Time, time.Time) (map[string]openimds.MetricSum, error) {
	return c.sums, c.err
}

func (c counted) FleetPoints(context.Context, func(string) bool, string, time.Time, time.Time, time.Duration) ([]openimds.FleetPoint, error) {
	return nil, c.err
}

// Points are those of the sums that it was told: of the first and the last run.
func (c counted) Points(_ context.Context, id string, _ []string, start, end time.Time, _ time.Duration) ([][]openimds.MetricPoint, error) {
	sum := c.sums[id]
	runs := []openimds.SampleRun{sum.Samples.First, sum.Samples.Last}[:min(sum.Samples.Runs, 2)]
	var points []openimds.MetricPoint
	for _, run := range runs {
		for at := run.Since(); at.Before(run.End()); at = at.Add(openimds.MetricPeriod) {
			if at.Before(start) || !at.Before(end) {
				continue
			}
			points = append(points, openimds.MetricPoint{Start: at, Samples: 1})
		}
	}
	if len(points) > 0 {
		points[len(points)-1].Sum = float64(sum.Sum)
	}
	return [][]openimds.MetricPoint{points}, c.err
}

// search is one with what most have: all on one page, of the last hour.
func (f *fixture) search(q control.InstanceSearch) ([]control.FoundInstance, int) {
	f.t.Helper()
	q.PageSize, q.Page = cmp.Or(q.PageSize, control.MaxSearchPage), cmp.Or(q.Page, 1)
	if q.Since.IsZero() {
		q.Since = f.clock().Add(-time.Hour)
	}
	found, total, err := f.SearchInstances(f.t.Context(), q)
	if err != nil {
		f.t.Fatal(err)
	}
	return found, total
}

func (f *fixture) names(q control.InstanceSearch) string {
	f.t.Helper()
	var names []string
	found, _ := f.search(q)
	for _, in := range found {
		names = append(names, in.Name)
	}
	return strings.Join(names, " ")
}

func (f *fixture) launch(l control.InstancesLaunch) {
	f.t.Helper()
	if _, err := f.CreateInstances(f.t.Context(), l); err != nil {
		f.t.Fatal(err)
	}
}

func TestSearchInstances(t *testing.T) {
	f := newFixture(t, nil)
	f.launch(control.InstancesLaunch{Names: []string{"web-2", "Web-1"}, Tags: []openimds.Tag{{Key: "Team", Value: "Front"}}})
	f.sleep(time.Second)
	f.launch(control.InstancesLaunch{Names: []string{"db-1"}, Zone: "us-east-1b", Tags: []openimds.Tag{{Key: "team", Value: "data"}}, Options: openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)}})
	f.sleep(time.Second)
	f.launch(control.InstancesLaunch{Names: []string{"off"}, BlueprintID: "debian_12", Options: openimds.OptionsUpdate{Endpoint: new(openimds.EndpointDisabled)}})
	f.update("web-2", openimds.OptionsUpdate{HopLimit: new(2)})
	if _, err := f.StopInstance(t.Context(), "db-1"); err != nil {
		t.Fatal(err)
	}
	web1, err := f.Instance(t.Context(), "Web-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		q    control.InstanceSearch
		want string
	}{
		{control.InstanceSearch{}, "Web-1 db-1 off web-2"},
		{control.InstanceSearch{Descending: true}, "web-2 off db-1 Web-1"},
		{control.InstanceSearch{Query: "WEB"}, "Web-1 web-2"},
		{control.InstanceSearch{Query: "  web  team=front "}, "Web-1 web-2"},
		{control.InstanceSearch{Query: "team="}, "Web-1 db-1 web-2"},
		{control.InstanceSearch{Query: "web data"}, ""},
		{control.InstanceSearch{Query: web1.ID}, "Web-1"},
		{control.InstanceSearch{Query: web1.NICs[0].PrivateIPv4[0].String()}, "Web-1"},
		{control.InstanceSearch{Query: "us-east-1b"}, "db-1"},
		{control.InstanceSearch{Query: "debian"}, "off"},
		{control.InstanceSearch{Filter: "all"}, "Web-1 db-1 off web-2"},
		{control.InstanceSearch{Filter: "v1AndV2"}, "Web-1 web-2"},
		{control.InstanceSearch{Filter: "v2Only"}, "db-1"},
		{control.InstanceSearch{Filter: "disabled"}, "off"},
		{control.InstanceSearch{Filter: "pending"}, "web-2"},
		{control.InstanceSearch{SortBy: "state"}, "Web-1 off web-2 db-1"},
		{control.InstanceSearch{SortBy: "tokens"}, "Web-1 web-2 db-1 off"},
		{control.InstanceSearch{SortBy: "tokens", Descending: true}, "off db-1 Web-1 web-2"},
		{control.InstanceSearch{SortBy: "created", Descending: true}, "off db-1 Web-1 web-2"},
		{control.InstanceSearch{PageSize: 3}, "Web-1 db-1 off"},
		{control.InstanceSearch{PageSize: 3, Page: 2}, "web-2"},
		{control.InstanceSearch{PageSize: 3, Page: 3}, ""},
		{control.InstanceSearch{PageSize: 1, Page: 1 << 40}, ""},
	} {
		if got := f.names(c.q); got != c.want {
			t.Errorf("%+v: %q, want %q", c.q, got, c.want)
		}
	}
	now := f.clock()
	for _, q := range []control.InstanceSearch{
		{PageSize: 0, Page: 1, Since: now}, {PageSize: 201, Page: 1, Since: now}, {PageSize: 1, Since: now},
		{PageSize: 1, Page: 1, Since: now.Add(time.Hour)}, {PageSize: 1, Page: 1},
	} {
		if _, _, err := f.SearchInstances(t.Context(), q); openimds.KindOf(err) != openimds.InvalidInput {
			t.Errorf("%+v: %v, want InvalidInput", q, err)
		}
	}
}

// A search sees every change as soon as it is made, whichever service of the store made it.
func TestSearchSeesChanges(t *testing.T) {
	f := newFixture(t, nil)
	beside := control.New(f.store, control.Config{Region: "us-east-1", AccountID: "123456789012", Now: f.clock})
	random := rand.New(rand.NewPCG(3, 4))
	const most = 150 // beyond what is read one by one
	there := map[string]string{}
	for range 60 {
		service := []*control.Service{f.Service, beside}[random.IntN(2)]
		name := fmt.Sprintf("web-%03d", random.IntN(most))
		switch _, is := there[name]; {
		case len(there) == 0 || random.IntN(20) == 0: // many at once
			for len(there) < most-20 {
				var names []string
				for i := 0; i < most && len(names) < 20; i++ {
					if name := fmt.Sprintf("web-%03d", i); there[name] == "" {
						names, there[name] = append(names, name), "-"
					}
				}
				if _, err := service.CreateInstances(t.Context(), control.InstancesLaunch{Names: names, Tags: []openimds.Tag{{Key: "n", Value: "-"}}}); err != nil {
					t.Fatal(err)
				}
			}
		case !is:
			there[name] = "new"
			if _, err := service.CreateInstances(t.Context(), control.InstancesLaunch{Names: []string{name}, Tags: []openimds.Tag{{Key: "n", Value: "new"}}}); err != nil {
				t.Fatal(err)
			}
		case random.IntN(3) == 0:
			delete(there, name)
			if _, err := service.DeleteInstance(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		default:
			there[name] = fmt.Sprint(random.IntN(1000))
			if _, err := service.TagResource(t.Context(), name, "", []openimds.Tag{{Key: "n", Value: there[name]}}); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range []*control.Service{f.Service, beside} {
			got := map[string]string{}
			found, total, err := s.SearchInstances(t.Context(), control.InstanceSearch{PageSize: 200, Page: 1, Since: f.clock()})
			if err != nil {
				t.Fatal(err)
			}
			for _, in := range found {
				got[in.Name] = in.Tags[0].Value
			}
			if !reflect.DeepEqual(got, there) || total != len(there) {
				t.Fatalf("found %v (%d), there are %v", got, total, there)
			}
			fleet, err := s.Fleet(t.Context(), f.clock())
			if err != nil || fleet.Instances != len(there) || fleet.Access[control.AccessV1AndV2] != len(there) || fleet.States[openimds.StateRunning] != len(there) {
				t.Fatalf("the fleet is %+v, %v; there are %d", fleet, err, len(there))
			}
		}
	}
}

// What is not known is never told as none.
func TestSearchUnknownCalls(t *testing.T) {
	var history counted
	f := newFixture(t, func(c *control.Config, _ *store.Store) { c.History = &history })
	f.launch(control.InstancesLaunch{Names: []string{"none", "some", "gap", "gap-some", "never", "damaged", "gaps", "edge"}})
	f.sleep(2 * time.Hour)
	f.launch(control.InstancesLaunch{Names: []string{"young"}})
	id := map[string]string{}
	found, _ := f.search(control.InstanceSearch{})
	for _, in := range found {
		id[in.Name] = in.ID
	}
	now := f.clock()
	since := now.Add(-time.Hour)
	number := func(t time.Time) int64 { return t.Unix() / int64(openimds.MetricPeriod/time.Second) }
	first, until := number(since)-1, number(now)+1 // with the one before
	samples := func(runs ...openimds.SampleRun) (s openimds.SampleRuns) {
		for _, run := range runs {
			s.Add(run)
		}
		return s
	}
	whole := samples(openimds.SampleRun{From: first, Until: until})
	gap := samples(openimds.SampleRun{From: first, Until: until - 7}, openimds.SampleRun{From: until - 4, Until: until})
	gaps := samples(openimds.SampleRun{From: first, Until: first + 3}, openimds.SampleRun{From: first + 4, Until: first + 8}, openimds.SampleRun{From: until - 3, Until: until})
	history.sums = map[string]openimds.MetricSum{
		id["none"]: {Samples: whole}, id["some"]: {Samples: whole, Sum: 7}, id["gap"]: {Samples: gap}, id["gap-some"]: {Samples: gap, Sum: 5},
		id["damaged"]: {Samples: whole, Damaged: true}, id["young"]: {Samples: samples(openimds.SampleRun{From: number(now), Until: until})},
		id["gaps"]: {Samples: gaps}, id["edge"]: {Samples: samples(openimds.SampleRun{From: first + 1, Until: until})},
	}
	type told struct {
		n       int64
		known   bool
		unknown time.Duration
	}
	want := map[string]told{
		"none": {0, true, 0}, "some": {7, true, 0}, "young": {0, true, 0},
		"gap": {0, false, 25 * time.Minute}, "gap-some": {5, true, 25 * time.Minute}, "never": {0, false, time.Hour}, "damaged": {0, false, 0},
		"gaps": {0, false, 40 * time.Minute}, "edge": {0, false, time.Unix((first+2)*300, 0).Sub(since).Round(time.Second)}, // it is as if its host began in that sample
	}
	found, _ = f.search(control.InstanceSearch{Since: since, SortBy: "noToken", Descending: true})
	for _, in := range found {
		if got := (told{in.NoToken, in.NoTokenKnown(), in.Unknown.Round(time.Second)}); got != want[in.Name] {
			t.Errorf("%s: %+v, want %+v", in.Name, got, want[in.Name])
		}
	}
	if got := f.names(control.InstanceSearch{Since: since, SortBy: "noToken", Descending: true}); got != "some gap-some none young damaged edge gap gaps never" {
		t.Errorf("by calls without a token: %q", got)
	}
	fleet, err := f.Fleet(t.Context(), since)
	if err != nil || fleet.NoToken != 12 || fleet.Unknown != 6 {
		t.Errorf("the fleet: %+v, %v; want 12 calls and 6 instances unknown", fleet, err)
	}
	history.err = errors.New("away")
	if _, err := f.Fleet(t.Context(), since); openimds.KindOf(err) != openimds.Unavailable {
		t.Errorf("without the history: %v, want Unavailable", err)
	}
}

// Nobody counts where there is no history: then nothing is known of anybody.
func TestSearchWithoutHistory(t *testing.T) {
	f := newFixture(t, nil)
	f.launch(control.InstancesLaunch{Names: []string{"web"}})
	found, _ := f.search(control.InstanceSearch{})
	fleet, err := f.Fleet(t.Context(), f.clock())
	if len(found) != 1 || found[0].NoTokenKnown() || err != nil || fleet.Unknown != 1 {
		t.Errorf("%+v, %+v, %v", found, fleet, err)
	}
}

// Whoever is not attached, or something is amiss with, is not heard for certain.
func TestFleetAttachments(t *testing.T) {
	h := newHosts(t)
	well, amiss := attached(h.attach("web-0", "one", "tap0")), attached(h.attach("web-1", "one", "tap1"))
	amiss.Reason = "connections of its guests are dropped"
	h.attach("web-2", "two", "tap0") // nothing is told of it yet
	h.report(h.one, well, amiss)
	for range 2 {
		fleet, err := h.api.Fleet(t.Context(), time.Now())
		if want := map[string]int{"attached": 2, "waiting": 1}; err != nil || !reflect.DeepEqual(fleet.Attachments, want) || fleet.Unheard != 2 {
			t.Errorf("%+v, %v; want the attachments %v, and 2 unheard", fleet, err, want)
		}
		found, total, err := h.api.SearchInstances(t.Context(), control.InstanceSearch{Query: "web-", PageSize: 200, Page: 1, Since: time.Now()})
		if err != nil || total != 20 {
			t.Fatalf("%d, %v", total, err)
		}
		for _, in := range found {
			if is := slices.Contains([]string{"web-0", "web-1", "web-2"}, in.Name); in.Attached != is {
				t.Errorf("%s attached: %t", in.Name, in.Attached)
			}
		}
	}
}
