package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// delay is how late the stand-in's metrics are.
const delay = 5 * time.Minute

// standIn answers as Amazon Lightsail does on a bad day: it throttles, fails now and then, applies options after
// some seconds, and tells its metrics late.
type standIn struct {
	mu        sync.Mutex
	random    *rand.Rand
	bad       float64 // the share of requests that are throttled or fail
	rejects   bool    // it has MetadataNoTokenRejected
	instances map[string]*standInInstance
	asked     map[string]int
	// operations are those of each instance, the latest first.
	operations []wire.Operation
}

type standInInstance struct {
	options wire.MetadataOptions
	applied time.Time
	made    time.Time
	// calls are when it is called without a token, and counted says whether a sample is there at all.
	calls    func(from, to time.Time) int
	counted  func(at time.Time) bool
	required time.Time // since when tokens are
}

func newStandIn(bad float64, rejects bool) *standIn {
	return &standIn{random: rand.New(rand.NewPCG(1, 2)), bad: bad, rejects: rejects, instances: map[string]*standInInstance{}, asked: map[string]int{}}
}

func (s *standIn) add(name string) *standInInstance {
	in := &standInInstance{
		options: wire.MetadataOptions{HTTPTokens: "optional", HTTPEndpoint: "enabled", HTTPPutResponseHopLimit: 2, HTTPProtocolIPv6: "disabled"},
		made:    time.Now().AddDate(0, -3, 0), calls: func(time.Time, time.Time) int { return 0 }, counted: func(time.Time) bool { return true },
	}
	s.instances[name] = in
	return in
}

// RoundTrip is [http.RoundTripper].
func (s *standIn) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(20 * time.Millisecond) // the way there
	s.mu.Lock()
	defer s.mu.Unlock()
	_, target, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	s.asked[target]++
	switch luck := s.random.Float64(); {
	case luck < s.bad*0.6:
		return answerOf(http.StatusBadRequest, map[string]string{"__type": "ThrottlingException", "message": "Rate exceeded"}), nil
	case luck < s.bad*0.9:
		return answerOf(http.StatusInternalServerError, map[string]string{"__type": "ServiceException", "message": "try again"}), nil
	case luck < s.bad:
		return nil, io.ErrUnexpectedEOF
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	status, answer := s.answer(target, body)
	if target == "UpdateInstanceMetadataOptions" && s.random.Float64() < s.bad/2 {
		return nil, io.ErrUnexpectedEOF // it was done, and nobody learns of it
	}
	return answerOf(status, answer), nil
}

func answerOf(status int, v any) *http.Response {
	text, _ := json.Marshal(v)
	return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(string(text))), Header: http.Header{}}
}

func (s *standIn) answer(target string, body []byte) (int, any) {
	var q struct {
		InstanceName, PageToken, MetricName, HTTPTokens string
		StartTime, EndTime                              awsjson.Epoch
		Period                                          int
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return http.StatusBadRequest, map[string]string{"__type": "SerializationException"}
	}
	if target == "GetInstances" {
		return http.StatusOK, s.page(q.PageToken)
	}
	if target == "GetOperationsForResource" {
		return http.StatusOK, wire.GetOperationsResult{Operations: s.operations}
	}
	in := s.instances[q.InstanceName]
	switch {
	case in == nil:
		return http.StatusBadRequest, map[string]string{"__type": "NotFoundException"}
	case target == "GetInstance":
		return http.StatusOK, wire.GetInstanceResult{Instance: in.shown(q.InstanceName)}
	case target == "UpdateInstanceMetadataOptions":
		in.options.HTTPTokens, in.applied = openimds.TokensMode(q.HTTPTokens), time.Now().Add(7*time.Second)
		if in.required = (time.Time{}); q.HTTPTokens == required {
			in.required = in.applied
		}
		return http.StatusOK, wire.OperationResult{}
	case target == "GetInstanceMetricData" && q.MetricName == openimds.MetricNoTokenRejected && !s.rejects:
		return http.StatusBadRequest, map[string]string{"__type": "InvalidInputException", "message": "no such metric"}
	case target == "GetInstanceMetricData":
		return http.StatusOK, in.points(q.MetricName, q.StartTime.Time, q.EndTime.Time)
	}
	return http.StatusBadRequest, map[string]string{"__type": "InvalidAction"}
}

// page is a page of three instances.
func (s *standIn) page(token string) wire.GetInstancesResult {
	names := make([]string, 0, len(s.instances))
	for name := range s.instances {
		names = append(names, name)
	}
	slices.Sort(names)
	var page wire.GetInstancesResult
	for i, name := range names {
		if name > token && len(page.Instances) < 3 {
			page.Instances = append(page.Instances, s.instances[name].shown(name))
			if len(page.Instances) == 3 && i < len(names)-1 {
				page.NextPageToken = name
			}
		}
	}
	return page
}

func (in *standInInstance) shown(name string) wire.Instance {
	options := in.options
	if options.State = openimds.OptionsApplied; time.Now().Before(in.applied) {
		options.State = openimds.OptionsPending
	}
	return wire.Instance{Name: name, ARN: "arn:" + name, CreatedAt: awsjson.Epoch{Time: in.made}, State: wire.InstanceState{Name: "running"}, MetadataOptions: options}
}

// points are the samples that are told by now.
func (in *standInInstance) points(metric string, from, to time.Time) wire.MetricDataResult {
	result := wire.MetricDataResult{MetricName: metric}
	for at := from.Truncate(metricPeriod); at.Before(to); at = at.Add(metricPeriod) {
		end := at.Add(metricPeriod)
		if at.Before(from) || end.Add(delay).After(time.Now()) || !in.counted(at) {
			continue
		}
		n := 0
		switch split := in.required; {
		case split.IsZero() || !split.Before(end):
			n = in.calls(at, end) * map[bool]int{true: 1}[metric == openimds.MetricNoToken]
		case metric == openimds.MetricNoTokenRejected:
			n = in.calls(later(at, split), end)
		case split.After(at):
			n = in.calls(at, split)
		}
		result.MetricData = append(result.MetricData, wire.Datapoint{Timestamp: awsjson.Epoch{Time: at}, Sum: new(awsjson.Double(n)), Unit: "Count"})
	}
	return result
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// atTimes are calls every so often within a time.
func atTimes(first time.Time, every time.Duration) func(from, to time.Time) int {
	return func(from, to time.Time) int {
		n := 0
		for at := first; at.Before(to); at = at.Add(every) {
			if !at.Before(from) {
				n++
			}
		}
		return n
	}
}

// awsFleet has instances of each kind.
func awsFleet(s *standIn) {
	now := time.Now()
	for i := range 12 {
		s.add(fmt.Sprintf("fine-%d", i))
	}
	s.add("empty").counted = func(time.Time) bool { return false }
	s.add("gap").counted = func(at time.Time) bool {
		return at.Before(now.AddDate(0, 0, -3)) || at.After(now.AddDate(0, 0, -3).Add(time.Hour))
	}
	s.add("ended").counted = func(at time.Time) bool { return at.Before(now.Add(-2 * time.Hour)) }
	s.add("began").counted = func(at time.Time) bool { return at.After(now.AddDate(0, 0, -4)) }
	s.add("calls").calls = atTimes(now.AddDate(0, 0, -10), 100*24*time.Hour)
	s.add("young").made = now.AddDate(0, 0, -5)
}

const awsPlan = "plan: 1\nprovider: lightsail\nhold: 30m\nwaves: [{name: rest, rest: true}]\n"

// On what is missing, late, empty or has a gap nothing is required, however often the service throttles or fails;
// who is refused is brought back as soon as the metric tells.
func TestAgainstAWS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStandIn(0.4, true)
		awsFleet(s)
		s.add("monthly").calls = atTimes(time.Now().Add(25*time.Minute), 10*time.Minute)
		p := NewLightsail(newClient(t, s))
		plan, err := ParsePlan([]byte(awsPlan))
		if err != nil {
			t.Fatal(err)
		}
		journal := journalIn(t)
		run, done := aRun(t, p, journal)
		err = run.Apply(t.Context(), plan)
		for tries := 0; err != nil && tries < 20; tries++ {
			t.Log(err)
			done()
			run, done = aRun(t, p, journal)
			err = run.Resume(t.Context())
		}
		done()
		if err != nil {
			t.Fatal(err)
		}
		for name, in := range s.instances {
			want := openimds.TokensOptional
			if strings.HasPrefix(name, "fine-") {
				want = openimds.TokensRequired
			}
			if got := in.options.HTTPTokens; got != want || in.options.HTTPPutResponseHopLimit != 2 {
				t.Errorf("%s: tokens are %s; %s: %s", name, got, kinds(t, journal, name), reason(t, journal, name))
			}
		}
		for name, want := range map[string]string{
			"empty": "unknown: nothing was counted in the last 14d", "gap": "unknown: nothing was counted for", "ended": "unknown: nothing was counted since",
			"began": "unknown: nothing was counted before", "calls": "not yet: 1 call without a token", "young": "not yet: it has been watched for 5d",
		} {
			if got := reason(t, journal, name); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %q; want %q", name, got, want)
			}
		}
		if got := kinds(t, journal, "monthly"); !strings.HasSuffix(got, "required, returning, returned") {
			t.Errorf("monthly: %s", got)
		}
	})
}

// Where no metric tells of refused calls, nothing is required, unless the plan says that it puts up with that.
func TestUnseenRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, unseen := range []bool{false, true} {
			s := newStandIn(0, false)
			s.add("web")
			text, want := awsPlan, optional
			if unseen {
				text, want = awsPlan+"refusals: unseen\n", required
			}
			plan, err := ParsePlan([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			journal := journalIn(t)
			run, done := aRun(t, NewLightsail(newClient(t, s)), journal)
			if err := run.Apply(t.Context(), plan); err != nil {
				t.Error(err)
			}
			done()
			if got := string(s.instances["web"].options.HTTPTokens); got != want {
				t.Errorf("unseen %v: tokens are %s: %s", unseen, got, reason(t, journal, "web"))
			}
		}
	})
}

// A metric that ends while a wave is held proves nothing: the plan stops, and what it has not touched stays so.
func TestMetricsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStandIn(0, true)
		begun := time.Now()
		s.add("one").counted = func(at time.Time) bool { return at.Before(begun.Add(10 * time.Minute)) }
		s.add("two")
		plan, err := ParsePlan([]byte("plan: 1\nprovider: lightsail\nhold: 30m\nwaves: [{name: a, names: [one]}, {name: b, rest: true}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		journal := journalIn(t)
		run, done := aRun(t, NewLightsail(newClient(t, s)), journal)
		err = run.Apply(t.Context(), plan)
		done()
		if !errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), "nothing tells whether calls were refused since") {
			t.Error(err)
		}
		if got := s.instances["two"].options.HTTPTokens; got != openimds.TokensOptional {
			t.Errorf("two: %s", kinds(t, journal, "two"))
		}
	})
}

// Instances of several regions are told apart although their names are the same, and one region that does not answer
// is not taken for one without instances.
func TestRegions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var here []Provider
		ins := map[string]*standIn{}
		for _, region := range []string{"us-east-1", "eu-west-1"} {
			s := newStandIn(0.2, true)
			s.add("web")
			s.add(region)
			ins[region] = s
			here = append(here, NewLightsail(newClientIn(t, region, s)))
		}
		ins["us-east-1"].instances["web"].calls = atTimes(time.Now().Add(15*time.Minute), time.Minute)
		p := InRegions(here...)
		plan, err := ParsePlan([]byte("plan: 1\nprovider: lightsail\nhold: 20m\nwaves:\n- {name: us, names: [us-east-1/*]}\n- {name: rest, rest: true}\n"))
		if err != nil {
			t.Fatal(err)
		}
		journal := journalIn(t)
		run, done := aRun(t, p, journal)
		if err := run.Apply(t.Context(), plan); !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		done()
		run, done = aRun(t, p, journal)
		if err := run.Resume(t.Context()); err != nil {
			t.Error(err)
		}
		for region, s := range ins {
			for name, in := range s.instances {
				if want := region != "us-east-1" || name != "web"; (in.options.HTTPTokens == required) != want {
					t.Errorf("%s in %s: %s", name, region, in.options.HTTPTokens)
				}
			}
		}
		done()
		ins["eu-west-1"].bad = 1
		if all, err := p.Instances(t.Context()); err == nil {
			t.Errorf("a region that does not answer: %v", all)
		}
	})
}
