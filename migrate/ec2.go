package migrate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/cloudwatch/wire"
	"github.com/openimds/openimds/client"
)

// EC2 has the instances of one region of Amazon EC2, and what CloudWatch counts of them. It is asked for nothing that
// these do not have, so a server of openimds will do as well. Names are not unique at EC2, and change: an instance is
// called by its id, and its Name is one of its tags.
type EC2 struct {
	api     client.EC2
	metrics *client.Client
	// every is how often metrics are looked at while refusals are waited for.
	every time.Duration
}

var _ Provider = (*EC2)(nil)

// NewEC2 makes the provider of a client of EC2's API and one of CloudWatch's, of the same region.
func NewEC2(api client.EC2, metrics *client.Client) *EC2 {
	return &EC2{api: api, metrics: metrics, every: time.Minute}
}

// Name is [Provider].
func (e *EC2) Name() string { return "ec2" }

// Regions is [Provider].
func (e *EC2) Regions() []string { return []string{e.api.Region()} }

// Instances is [Provider]: those that are not terminated.
func (e *EC2) Instances(ctx context.Context) ([]Instance, error) {
	all := []Instance{}
	for token := ""; ; {
		page, err := e.api.DescribeInstances(ctx, token)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.api.Region(), err)
		}
		for _, launch := range page.Reservations {
			for _, in := range launch.Instances {
				if !over(in) {
					all = append(all, e.instance(launch.Account, in))
				}
			}
		}
		if page.NextToken == "" {
			break
		}
		if page.NextToken == token {
			return nil, fmt.Errorf("%s: the list of instances does not end", e.api.Region())
		}
		token = page.NextToken
	}
	slices.SortFunc(all, func(a, b Instance) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// over says whether an instance is at its end, or beyond.
func over(in client.EC2Instance) bool { return in.State == "shutting-down" || in.State == "terminated" }

func (e *EC2) instance(account string, in client.EC2Instance) Instance {
	shown := Instance{
		Ref: Ref{Region: e.api.Region(), Name: in.ID, ID: "arn:aws:ec2:" + e.api.Region() + ":" + account + ":instance/" + in.ID}, State: in.State, Blueprint: in.ImageID, CreatedAt: createdAt(in),
		Options: Options{Tokens: in.Options.Tokens, Endpoint: in.Options.Endpoint, HopLimit: in.Options.HopLimit, IPv6: in.Options.IPv6},
		Pending: in.Options.State == string(openimds.OptionsPending),
	}
	for _, tag := range in.Tags {
		if shown.Tags == nil {
			shown.Tags = map[string]string{}
		}
		shown.Tags[tag.Key] = tag.Value
	}
	return shown
}

// createdAt is since when an instance's first network interface is attached: what EC2 calls its launch is its latest
// start. The zero time: that is not known.
func createdAt(in client.EC2Instance) time.Time {
	for _, i := range in.Interfaces {
		if i.Index == 0 {
			return i.Since
		}
	}
	return time.Time{}
}

// Instance is [Provider].
func (e *EC2) Instance(ctx context.Context, of Ref) (Instance, error) {
	in, _, err := e.find(ctx, of)
	return in, err
}

// find returns an instance, and when it was started last.
func (e *EC2) find(ctx context.Context, of Ref) (Instance, time.Time, error) {
	page, err := e.api.DescribeInstances(ctx, "", of.Name)
	if err != nil {
		return Instance{}, time.Time{}, gone(err)
	}
	for _, launch := range page.Reservations {
		for _, in := range launch.Instances {
			if shown := e.instance(launch.Account, in); shown.Ref == of && !over(in) {
				return shown, in.LaunchTime, nil
			}
		}
	}
	return Instance{}, time.Time{}, ErrGone
}

// Calls is [Provider]. Known are the samples that there are of either metric: a running instance has one where nothing was
// counted too, of the answered calls while tokens are optional, or of the refused ones while they are required
// (EC2 user guide, "CloudWatch metrics for your instances").
func (e *EC2) Calls(ctx context.Context, of Instance, since time.Time) (Calls, error) {
	now := time.Now()
	if since.Before(of.CreatedAt) {
		since = of.CreatedAt
	}
	_, started, err := e.find(ctx, of.Ref)
	if err != nil {
		return Calls{}, err
	}
	asked := Span{since, now}
	since = since.Truncate(metricPeriod)
	// With the sample before: see watched.
	counted, err := e.points(ctx, of.Name, since.Add(-metricPeriod), now, openimds.MetricNoToken, openimds.MetricNoTokenRejected)
	if err != nil {
		return Calls{}, err
	}
	all := inOrder(slices.Concat(counted...))
	calls := watched(all, of.CreatedAt, asked)
	before := func(p point) bool { return p.start.Before(since) }
	all, answered, rejected := slices.DeleteFunc(all, before), slices.DeleteFunc(counted[0], before), slices.DeleteFunc(counted[1], before)
	for _, p := range answered {
		calls.NoToken += int64(p.sum)
	}
	n, whole := refusedIn(rejected, all)
	calls.Rejected = &n
	if of.Options.Endpoint == disabled && !whole { // whom a disabled endpoint turned away nobody need have counted
		calls.ShutUntil = now
	}
	if started.After(since) && started.After(of.CreatedAt.Add(metricPeriod)) { // of earlier ones nothing is known
		calls.Boots = []time.Time{started}
	}
	return calls, nil
}

// inOrder are points in the order of time, one for each time.
func inOrder(points []point) []point {
	slices.SortStableFunc(points, func(a, b point) int { return a.start.Compare(b.start) })
	return slices.CompactFunc(points, func(a, b point) bool { return a.start.Equal(b.start) })
}

// points reads the samples of metrics, in the order of time.
func (e *EC2) points(ctx context.Context, id string, from, to time.Time, metrics ...string) ([][]point, error) {
	ask := wire.GetMetricDataRequest{StartTime: awsjson.At(from), EndTime: awsjson.At(to), ScanBy: "TimestampAscending"}
	all := map[string][]point{}
	for i, metric := range metrics {
		ask.MetricDataQueries = append(ask.MetricDataQueries, wire.MetricDataQuery{ID: wire.Text255(fmt.Sprint("m", i)), MetricStat: &wire.MetricStat{
			Metric: &wire.Metric{Namespace: "AWS/EC2", MetricName: wire.Text255(metric), Dimensions: []wire.Dimension{{Name: "InstanceId", Value: wire.DimensionValue(id)}}},
			Period: new(wire.Period(metricPeriod / time.Second)), Stat: "Sum",
		}})
	}
	for {
		page, err := client.CloudWatch(ctx, e.metrics, wire.GetMetricData, ask)
		if err != nil {
			return nil, err
		}
		for _, r := range page.MetricDataResults {
			if len(r.Timestamps) != len(r.Values) || r.StatusCode == "InternalError" || r.StatusCode == "Forbidden" {
				return nil, fmt.Errorf("CloudWatch tells of %s that it is %s", r.Label, r.StatusCode)
			}
			for i, at := range r.Timestamps {
				all[r.ID] = append(all[r.ID], point{at.Time, float64(r.Values[i])})
			}
		}
		if page.NextToken == "" {
			break
		}
		if page.NextToken == ask.NextToken {
			return nil, fmt.Errorf("CloudWatch's data do not end")
		}
		ask.NextToken = page.NextToken
	}
	found := make([][]point, len(metrics))
	for i := range metrics {
		found[i] = inOrder(all[fmt.Sprint("m", i)])
	}
	return found, nil
}

// Watch is [Provider]. CloudWatch tells some minutes late.
func (e *EC2) Watch() Watch { return newMetricWatch(e.rejections, e.every) }

// rejections are the samples of refused calls. CloudWatch says nothing of an instance that is gone, so EC2 is asked where
// there are none.
func (e *EC2) rejections(ctx context.Context, of Ref, from, to time.Time) ([]point, bool, error) {
	if !from.Before(to) {
		from = to.Add(-metricPeriod)
	}
	counted, err := e.points(ctx, of.Name, from, to, openimds.MetricNoTokenRejected)
	if err != nil {
		return nil, false, err
	}
	if len(counted[0]) == 0 {
		if _, err := e.Instance(ctx, of); err != nil {
			return nil, false, err
		}
	}
	return counted[0], true, nil
}

// SetOptions is [Provider].
func (e *EC2) SetOptions(ctx context.Context, of Ref, to Options) error {
	return persist(ctx, func() error {
		in, err := e.Instance(ctx, of)
		if err != nil {
			return err
		}
		var change client.EC2Change // what the instance has already is left out
		if to.Tokens != in.Options.Tokens {
			change.Tokens = to.Tokens
		}
		if to.Endpoint != in.Options.Endpoint {
			change.Endpoint = to.Endpoint
		}
		if to.IPv6 != in.Options.IPv6 {
			change.IPv6 = to.IPv6
		}
		if to.HopLimit != in.Options.HopLimit {
			change.HopLimit = to.HopLimit
		}
		if change == (client.EC2Change{}) {
			return nil
		}
		return gone(e.api.ModifyInstanceMetadataOptions(ctx, of.Name, change))
	})
}
