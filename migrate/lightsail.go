package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

// Lightsail has the instances of one region of Amazon Lightsail. It is asked for nothing that Lightsail does
// not have, so a server of openimds will do as well.
//
// Lightsail does not have MetadataNoTokenRejected (API reference, GetInstanceMetricData): unless it begins to,
// nobody sees there whether calls are refused.
type Lightsail struct {
	api *client.Client
	// every is how often metrics are looked at while refusals are waited for.
	every time.Duration

	mu       sync.Mutex
	rejected *bool // whether the metric of refused calls is there; nil: nobody has asked
}

var _ Provider = (*Lightsail)(nil)

// NewLightsail makes the provider of a client, which says for which region it signs.
func NewLightsail(api *client.Client) *Lightsail { return &Lightsail{api: api, every: time.Minute} }

// Name is [Provider].
func (l *Lightsail) Name() string { return "lightsail" }

// Regions is [Provider].
func (l *Lightsail) Regions() []string { return []string{l.api.Region()} }

// Instances is [Provider].
func (l *Lightsail) Instances(ctx context.Context) ([]Instance, error) {
	all := []Instance{}
	for page, err := range client.Pages(ctx, l.api, wire.GetInstances, wire.GetInstancesRequest{}) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.api.Region(), err)
		}
		for _, in := range page.Instances {
			all = append(all, l.instance(in))
		}
	}
	slices.SortFunc(all, func(a, b Instance) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func (l *Lightsail) instance(in wire.Instance) Instance {
	o := in.MetadataOptions
	shown := Instance{
		Ref: Ref{Region: l.api.Region(), Name: in.Name, ID: in.ARN}, State: in.State.Name, Blueprint: in.BlueprintID, CreatedAt: in.CreatedAt.Time,
		Options: Options{Tokens: string(o.HTTPTokens), Endpoint: string(o.HTTPEndpoint), HopLimit: o.HTTPPutResponseHopLimit, IPv6: string(o.HTTPProtocolIPv6)},
		Pending: o.State == openimds.OptionsPending,
	}
	for _, tag := range in.Tags {
		if shown.Tags == nil {
			shown.Tags = map[string]string{}
		}
		shown.Tags[tag.Key] = tag.Value
	}
	return shown
}

// Instance is [Provider].
func (l *Lightsail) Instance(ctx context.Context, of Ref) (Instance, error) {
	in, err := l.Named(ctx, of.Name)
	if err != nil {
		return Instance{}, err
	}
	if in.ID != of.ID {
		return Instance{}, fmt.Errorf("%w: %s is another one since %s", ErrGone, of.Name, stamp(in.CreatedAt))
	}
	return in, nil
}

// Named returns the instance that has the name now. Errors: [ErrGone].
func (l *Lightsail) Named(ctx context.Context, name string) (Instance, error) {
	answer, err := client.Call(ctx, l.api, wire.GetInstance, wire.GetInstanceRequest{InstanceName: name})
	if err != nil {
		return Instance{}, gone(err)
	}
	return l.instance(answer.Instance), nil
}

// gone is an error as [ErrGone] where it says that.
func gone(err error) error {
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.NotFound() {
		return ErrGone
	}
	return err
}

// metricPeriod is the length of the samples of Lightsail's metrics (API reference, GetInstanceMetricData: "available in
// 5-minute (300 seconds) granularity"), and maxPoints how many points one answer has at most.
const (
	metricPeriod = openimds.MetricPeriod
	maxPoints    = 1440
)

// Calls is [Provider]. Known are the samples that there are: a running instance has one of zero where nothing
// was counted.
func (l *Lightsail) Calls(ctx context.Context, of Instance, since time.Time) (Calls, error) {
	now := time.Now()
	if since.Before(of.CreatedAt) {
		since = of.CreatedAt
	}
	asked := Span{since, now}
	since = since.Truncate(metricPeriod)
	// With the sample before: see watched.
	points, err := l.points(ctx, of.Name, openimds.MetricNoToken, since.Add(-metricPeriod), now)
	if err != nil {
		return Calls{}, err
	}
	calls := watched(points, of.CreatedAt, asked)
	points = slices.DeleteFunc(points, func(p point) bool { return p.start.Before(since) })
	for _, p := range points {
		calls.NoToken += int64(p.sum)
	}
	var changed time.Time
	if calls.Boots, changed, err = l.operations(ctx, of, since); err != nil {
		return Calls{}, err
	}
	rejected, _, err := l.rejections(ctx, of.Ref, since, now)
	if err != nil {
		return Calls{}, err
	}
	n, whole := refusedIn(rejected, points)
	if whole || n > 0 {
		calls.Rejected = &n
	}
	switch {
	case whole: // whatever the options were
	case of.Options.Endpoint == disabled || of.Options.Tokens == required:
		calls.ShutUntil = now
	default:
		calls.ShutUntil = changed // nobody tells what they were before
	}
	return calls, nil
}

// refusedIn is how many refused calls were counted, and whether they were wherever the others were.
func refusedIn(rejected, others []point) (n int64, whole bool) {
	counted := map[int64]bool{}
	for _, p := range rejected {
		n += int64(p.sum)
		counted[p.start.Unix()] = true
	}
	missing := slices.ContainsFunc(others, func(p point) bool { return !counted[p.start.Unix()] })
	return n, len(others) > 0 && !missing
}

// watched is what samples tell of, one after the other, of which the first may be before the time asked for. A sample is
// there if something was counted at some moment of it: the first one after a time without any, and the last one before,
// are left out, unless the instance was created in it, lest more seems to be known than is.
func watched(points []point, created time.Time, asked Span) (calls Calls) {
	var runs []Span
	for i, p := range points {
		end := p.start.Add(metricPeriod)
		if i > 0 && !p.start.After(runs[len(runs)-1].Until) {
			runs[len(runs)-1].Until = end
		} else {
			runs = append(runs, Span{p.start, end})
		}
	}
	for _, run := range runs {
		sure := asked
		if second := run.Since.Add(metricPeriod); asked.Since.Before(second) && created.Before(run.Since) {
			sure.Since = second
		}
		if run.Until.Before(asked.Until.Add(-lateness)) { // else the next one may be still to come
			sure.Until = run.Until.Add(-metricPeriod)
		} else if run.Until.Before(asked.Until) {
			sure.Until = run.Until
		}
		if !run.Until.After(asked.Since) {
			continue
		}
		if sure.Since.After(sure.Until) {
			sure.Since = sure.Until
		}
		calls.add(sure)
	}
	return calls
}

// add puts a further time that is known to those before it.
func (c *Calls) add(known Span) {
	switch {
	case c.Since.IsZero() || c.Since.Equal(c.Until):
		*c = Calls{Since: known.Since}
	case known.Since.After(c.Until):
		c.Gaps, c.Missing = append(c.Gaps, Span{c.Until, known.Since}), c.Missing+known.Since.Sub(c.Until)
	}
	c.Until = known.Until
}

// point is one sample of a metric. A sample without a sum is none.
type point struct {
	start time.Time
	sum   float64
}

// points reads the samples of a metric, in the order of time.
func (l *Lightsail) points(ctx context.Context, name, metric string, from, to time.Time) ([]point, error) {
	points := []point{}
	for from.Before(to) {
		until := from.Add(maxPoints * metricPeriod)
		if until.After(to) {
			until = to
		}
		answer, err := client.Call(ctx, l.api, wire.GetInstanceMetricData, wire.GetInstanceMetricDataRequest{
			InstanceName: name, MetricName: wire.InstanceMetricName(metric), Unit: "Count", Statistics: []wire.MetricStatistic{"Sum"},
			Period: new(wire.MetricPeriod(metricPeriod / time.Second)), StartTime: awsjson.At(from), EndTime: awsjson.At(until),
		})
		if err != nil {
			return nil, gone(err)
		}
		for _, p := range answer.MetricData {
			if p.Sum != nil {
				points = append(points, point{p.Timestamp.Time, float64(*p.Sum)})
			}
		}
		from = until
	}
	slices.SortFunc(points, func(a, b point) int { return a.start.Compare(b.start) })
	return slices.CompactFunc(points, func(a, b point) bool { return a.start.Equal(b.start) }), nil
}

// rejections are the samples of refused calls, if there is such a metric.
func (l *Lightsail) rejections(ctx context.Context, of Ref, from, to time.Time) (points []point, known bool, err error) {
	l.mu.Lock()
	asked := l.rejected
	l.mu.Unlock()
	if asked != nil && !*asked {
		return nil, false, nil
	}
	if !from.Before(to) {
		from = to.Add(-metricPeriod) // so that it is asked for at all
	}
	points, err = l.points(ctx, of.Name, openimds.MetricNoTokenRejected, from, to)
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.Exception == "InvalidInputException" {
		err = nil
	} else if err == nil {
		known = true
	}
	if err == nil {
		l.mu.Lock()
		l.rejected = &known
		l.mu.Unlock()
	}
	return points, known, err
}

// operations tells by the operations on an instance's name when it was started and rebooted, and when its options were
// changed last; zero: they were not. An operation that was before the instance was another one's.
func (l *Lightsail) operations(ctx context.Context, of Instance, since time.Time) (boots []time.Time, changed time.Time, err error) {
	boots = []time.Time{}
	request := wire.GetOperationsForResourceRequest{ResourceName: of.Name}
	for page, err := range client.Pages(ctx, l.api, wire.GetOperationsForResource, request) {
		if err != nil {
			return nil, changed, gone(err)
		}
		for _, op := range page.Operations {
			done := op.Status == "Succeeded" || op.Status == "Completed"
			switch {
			case op.CreatedAt.Before(since):
				return boots, changed, nil // the latest come first
			case done && (op.OperationType == "RebootInstance" || op.OperationType == "StartInstance"):
				boots = append(boots, op.CreatedAt.Time)
			case op.Status != "Failed" && op.OperationType == "UpdateInstanceMetadataOptions" && op.CreatedAt.After(changed):
				changed = op.CreatedAt.Time
			}
		}
	}
	return boots, changed, nil
}

// setAttempts is how often a change of options is asked for that has no answer, or one that may pass: it cannot
// happen twice, for it says what the options are to be.
const setAttempts = 8

// SetOptions is [Provider].
func (l *Lightsail) SetOptions(ctx context.Context, of Ref, to Options) error {
	return persist(ctx, func() error { return l.setOptions(ctx, of, to) })
}

// persist tries a change that says how something is to be until it is done, or refused for good.
func persist(ctx context.Context, change func() error) error {
	for n := 0; ; n++ {
		err := change()
		if n == setAttempts-1 || !mayPass(err) {
			return err
		}
		if err := pause(ctx, rand.N(min(200*time.Millisecond<<n, 20*time.Second))); err != nil {
			return err
		}
	}
}

// mayPass says whether another attempt may have another end.
func mayPass(err error) bool {
	refused, answered := errors.AsType[*client.Error](err)
	_, lost := errors.AsType[*client.Unreachable](err)
	return lost || answered && (refused.Throttled() || refused.Status >= http.StatusInternalServerError)
}

func (l *Lightsail) setOptions(ctx context.Context, of Ref, to Options) error {
	// What the instance has already is left out: not every place takes every option.
	in, err := l.Instance(ctx, of)
	if err != nil {
		return err
	}
	request := wire.UpdateInstanceMetadataOptionsRequest{InstanceName: of.Name}
	if to.Tokens != in.Options.Tokens && to.Tokens != "" {
		request.HTTPTokens = new(wire.HTTPTokens(to.Tokens))
	}
	if to.Endpoint != in.Options.Endpoint && to.Endpoint != "" {
		request.HTTPEndpoint = new(wire.HTTPEndpoint(to.Endpoint))
	}
	if to.HopLimit != in.Options.HopLimit && to.HopLimit != 0 {
		request.HTTPPutResponseHopLimit = new(to.HopLimit)
	}
	if to.IPv6 != in.Options.IPv6 && to.IPv6 != "" {
		request.HTTPProtocolIPv6 = new(wire.HTTPEndpoint(to.IPv6))
	}
	if request == (wire.UpdateInstanceMetadataOptionsRequest{InstanceName: of.Name}) {
		return nil
	}
	_, err = client.Call(ctx, l.api, wire.UpdateInstanceMetadataOptions, request)
	return gone(err)
}
