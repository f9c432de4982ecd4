package migrate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	cloudwatch "github.com/openimds/openimds/api/cloudwatch/wire"
	"github.com/openimds/openimds/api/ec2/wire"
	"github.com/openimds/openimds/client"
)

// EC2 has the instances of one region of Amazon EC2, and what CloudWatch counts of them. It is asked for nothing that
// these do not have, so a server of openimds will do as well. Names are not unique at EC2, and change: an instance is
// called by its id, and its Name is one of its tags.
type EC2 struct {
	api, metrics *client.Client
	// every is how often metrics are looked at while refusals are waited for.
	every time.Duration
}

var _ Provider = (*EC2)(nil)

// NewEC2 makes the provider of a client of EC2's API and one of CloudWatch's, of the same region.
func NewEC2(api, metrics *client.Client) *EC2 {
	return &EC2{api: api, metrics: metrics, every: time.Minute}
}

// Name is [Provider].
func (e *EC2) Name() string { return "ec2" }

// Regions is [Provider].
func (e *EC2) Regions() []string { return []string{e.api.Region()} }

// ec2Page is how many instances a page of a list has at most.
const ec2Page = 1000

// Instances is [Provider]: those that are not terminated.
func (e *EC2) Instances(ctx context.Context) ([]Instance, error) {
	all := []Instance{}
	for ask := (wire.DescribeInstancesRequest{MaxResults: new(ec2Page)}); ; {
		page, err := client.EC2(ctx, e.api, wire.DescribeInstances, ask)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.api.Region(), err)
		}
		for _, launch := range page.Reservations {
			for _, in := range launch.Instances {
				if !over(&in) {
					all = append(all, e.instance(launch.OwnerID, &in))
				}
			}
		}
		if page.NextToken == "" {
			break
		}
		if page.NextToken == ask.NextToken {
			return nil, fmt.Errorf("%s: the list of instances does not end", e.api.Region())
		}
		ask.NextToken = page.NextToken
	}
	slices.SortFunc(all, func(a, b Instance) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// over says whether an instance is at its end, or beyond.
func over(in *wire.Instance) bool {
	return in.InstanceState.Name == openimds.StateShuttingDown || in.InstanceState.Name == openimds.StateTerminated
}

func (e *EC2) instance(account string, in *wire.Instance) Instance {
	has := in.MetadataOptions
	shown := Instance{
		Ref:   Ref{Region: e.api.Region(), Name: in.InstanceID, ID: "arn:aws:ec2:" + e.api.Region() + ":" + account + ":instance/" + in.InstanceID},
		State: string(in.InstanceState.Name), Blueprint: in.ImageID, CreatedAt: createdAt(in),
		Options: Options{Tokens: string(has.HTTPTokens), Endpoint: string(has.HTTPEndpoint), HopLimit: has.HopLimit, IPv6: string(has.HTTPProtocolIPv6)},
		Pending: has.State == openimds.OptionsPending,
	}
	for _, tag := range in.TagSet {
		if shown.Tags == nil {
			shown.Tags = map[string]string{}
		}
		shown.Tags[tag.Key] = tag.Value
	}
	return shown
}

// createdAt is since when an instance's first network interface is attached: what EC2 calls its launch is its latest
// start. The zero time: that is not known.
func createdAt(in *wire.Instance) time.Time {
	for _, nic := range in.NetworkInterfaces {
		if nic.Attachment.DeviceIndex == 0 {
			return nic.Attachment.AttachTime
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
	page, err := client.EC2(ctx, e.api, wire.DescribeInstances, wire.DescribeInstancesRequest{InstanceIDs: []string{of.Name}})
	if err != nil {
		return Instance{}, time.Time{}, gone(err)
	}
	for _, launch := range page.Reservations {
		for _, in := range launch.Instances {
			if shown := e.instance(launch.OwnerID, &in); shown.Ref == of && !over(&in) {
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
	counted, whole, err := e.points(ctx, of.Name, since.Add(-metricPeriod), now, openimds.MetricNoToken, openimds.MetricNoTokenRejected)
	if err != nil {
		return Calls{}, err
	}
	all := inOrder(slices.Concat(counted...))
	if !whole { // what is left out of one, nobody need have counted though the other is there
		all = inBoth(counted[0], counted[1])
	}
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

// inBoth are the points that have one of the same time.
func inBoth(points, others []point) (both []point) {
	for _, p := range points {
		if slices.ContainsFunc(others, func(other point) bool { return other.start.Equal(p.start) }) {
			both = append(both, p)
		}
	}
	return both
}

// points reads the samples of metrics, in the order of time. whole is false where CloudWatch says that of some it does not
// know all.
func (e *EC2) points(ctx context.Context, id string, from, to time.Time, metrics ...string) (found [][]point, whole bool, err error) {
	whole = true
	ask := cloudwatch.GetMetricDataRequest{StartTime: awsjson.At(from), EndTime: awsjson.At(to), ScanBy: "TimestampAscending"}
	all := map[string][]point{}
	for i, metric := range metrics {
		ask.MetricDataQueries = append(ask.MetricDataQueries, cloudwatch.MetricDataQuery{ID: cloudwatch.Text255(fmt.Sprint("m", i)), MetricStat: &cloudwatch.MetricStat{
			Metric: &cloudwatch.Metric{Namespace: "AWS/EC2", MetricName: cloudwatch.Text255(metric), Dimensions: []cloudwatch.Dimension{{Name: "InstanceId", Value: cloudwatch.DimensionValue(id)}}},
			Period: new(cloudwatch.Period(metricPeriod / time.Second)), Stat: "Sum",
		}})
	}
	for {
		page, err := client.CloudWatch(ctx, e.metrics, cloudwatch.GetMetricData, ask)
		if err != nil {
			return nil, false, err
		}
		for _, r := range page.MetricDataResults {
			if len(r.Timestamps) != len(r.Values) || r.StatusCode == "InternalError" || r.StatusCode == "Forbidden" {
				return nil, false, fmt.Errorf("CloudWatch tells of %s that it is %s", r.Label, r.StatusCode)
			}
			// Of a page that another one follows it says so too, without a message.
			whole = whole && (r.StatusCode != "PartialData" || page.NextToken != "" && len(r.Messages) == 0)
			for i, at := range r.Timestamps {
				all[r.ID] = append(all[r.ID], point{at.Time, float64(r.Values[i])})
			}
		}
		if page.NextToken == "" {
			break
		}
		if page.NextToken == ask.NextToken {
			return nil, false, fmt.Errorf("CloudWatch's data do not end")
		}
		ask.NextToken = page.NextToken
	}
	found = make([][]point, len(metrics))
	for i := range metrics {
		found[i] = inOrder(all[fmt.Sprint("m", i)])
	}
	return found, whole, nil
}

// Watch is [Provider]. CloudWatch tells some minutes late.
func (e *EC2) Watch() Watch { return newMetricWatch(e.rejections, e.every) }

// rejections are the samples of refused calls: none was refused in a time before the first of them of which CloudWatch
// tells that calls were answered, for it has one metric or the other, as the instance's tokens are. A change often begins
// to hold in another period than it was asked for. CloudWatch says nothing of an instance that is gone, so EC2 is asked
// where there are no samples.
func (e *EC2) rejections(ctx context.Context, of Ref, from, to time.Time) ([]point, bool, error) {
	if !from.Before(to) {
		from = to.Add(-metricPeriod)
	}
	counted, whole, err := e.points(ctx, of.Name, from, to, openimds.MetricNoTokenRejected, openimds.MetricNoToken)
	if err != nil {
		return nil, false, err
	}
	refused, answered := counted[0], counted[1]
	if len(refused) == 0 {
		if _, err := e.Instance(ctx, of); err != nil {
			return nil, false, err
		}
		return nil, true, nil
	}
	if whole { // else a sample may be missing that there is
		last := refused[len(refused)-1].start
		for _, p := range answered {
			if p.start.Before(last) {
				refused = append(refused, point{start: p.start})
			}
		}
	}
	return inOrder(refused), true, nil
}

// SetOptions is [Provider].
func (e *EC2) SetOptions(ctx context.Context, of Ref, to Options) error {
	return persist(ctx, func() error {
		in, err := e.Instance(ctx, of)
		if err != nil {
			return err
		}
		if in.Options.changed(to) == in.Options {
			return nil
		}
		change := wire.ModifyInstanceMetadataOptionsRequest{ // what the instance has already is left out
			InstanceID: of.Name, HTTPTokens: changeOf[wire.Tokens](in.Options.Tokens, to.Tokens),
			HTTPEndpoint: changeOf[wire.Endpoint](in.Options.Endpoint, to.Endpoint), HTTPProtocolIPv6: changeOf[wire.Endpoint](in.Options.IPv6, to.IPv6),
		}
		if to.HopLimit != 0 && to.HopLimit != in.Options.HopLimit {
			change.HopLimit = &to.HopLimit
		}
		_, err = client.EC2(ctx, e.api, wire.ModifyInstanceMetadataOptions, change)
		return gone(err)
	})
}

// changeOf is the option that is asked for in the place of what there is; nil: it stays.
func changeOf[T ~string](from, to string) *T {
	if to == "" || to == from {
		return nil
	}
	return new(T(to))
}

// EC2Regions are the names of the regions that the account of a client of EC2's API has.
func EC2Regions(ctx context.Context, api *client.Client) ([]string, error) {
	answer, err := client.EC2(ctx, api, wire.DescribeRegions, wire.DescribeRegionsRequest{})
	var names []string
	for _, r := range answer.Regions {
		names = append(names, r.RegionName)
	}
	return names, err
}
