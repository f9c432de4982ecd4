package migrate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/advice"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

// OpenIMDS has the instances of an openimds server, which names callers and tells of refusals at once.
type OpenIMDS struct{ *Lightsail }

var _ Provider = OpenIMDS{}

// NewOpenIMDS makes the provider of a client of an openimds server.
func NewOpenIMDS(api *client.Client) OpenIMDS { return OpenIMDS{NewLightsail(api)} }

// Name is [Provider].
func (o OpenIMDS) Name() string { return "openimds" }

// Calls is [Provider].
func (o OpenIMDS) Calls(ctx context.Context, of Instance, since time.Time) (Calls, error) {
	counts, err := client.Call(ctx, o.api, wire.GetMetadataCounts, wire.GetMetadataCountsRequest{InstanceName: of.Name, StartTime: awsjson.At(since.Truncate(time.Second))})
	if err != nil {
		return Calls{}, gone(err)
	}
	if len(counts.Counts) != 1 {
		return Calls{}, fmt.Errorf("the service told of %d instances, not of one", len(counts.Counts))
	}
	counted := counts.Counts[0]
	known := counted.Known
	calls := Calls{
		Since: known.Since.OrZero(), Until: known.Until.OrZero(), Missing: time.Duration(known.MissingSeconds) * time.Second,
		NoToken: counted.Counts[openimds.MetricNoToken],
	}
	if known.Since != nil { // else a zero would tell of nothing
		calls.Rejected = new(counted.Counts[openimds.MetricNoTokenRejected])
	}
	if calls.Callers, err = o.callers(ctx, of.Name, since); err != nil {
		return Calls{}, err
	}
	earlier, err := o.earlier(ctx, of.Name, since)
	if err != nil {
		return Calls{}, err
	}
	calls.Due, calls.Callers = earlier.due, append(calls.Callers, earlier.lost...)
	if calls.Missing > 0 {
		points, err := o.points(ctx, of.Name, openimds.MetricNoToken, calls.Since.Truncate(metricPeriod).Add(-metricPeriod), calls.Until)
		if err != nil {
			return Calls{}, err
		}
		calls.Gaps = watched(points, of.CreatedAt, Span{calls.Since, calls.Until}).Gaps
	}
	calls.Boots, _, err = o.operations(ctx, of, since)
	return calls, err
}

// earlierCallers are those of before a time that matter in it.
type earlierCallers struct {
	// due came without a token and are expected again: a monthly job is not over because it was not seen for two weeks.
	due []Caller
	// lost are those whom a token did not reach, without counts: software that then goes on without one does so for
	// as long as it runs.
	lost []Caller
}

func (o OpenIMDS) earlier(ctx context.Context, name string, since time.Time) (found earlierCallers, err error) {
	for page, err := range client.Pages(ctx, o.api, wire.GetCallers, wire.GetCallersRequest{InstanceName: name}) {
		if err != nil {
			return found, gone(err)
		}
		for _, c := range page.Callers {
			if isDue(c, since, time.Now()) {
				found.due = append(found.due, callerOf(c, time.Time{}))
			}
			if u := c.TokenUndelivered; u != nil && u.Time.Before(since) {
				c.Counts, c.LastWithoutToken, c.FirstWithoutToken = nil, nil, nil // of all time
				found.lost = append(found.lost, callerOf(c, since))
			}
		}
	}
	return found, nil
}

// isDue says whether a caller that was last seen before a time, without a token, comes so regularly that it is to come
// again. One that has missed its time by half of it is taken to be gone.
func isDue(c wire.MetadataCaller, since, now time.Time) bool {
	last := c.LastWithoutToken.OrZero()
	period := time.Duration(c.Period.Seconds) * time.Second
	switch {
	case last.IsZero() || !last.Before(since), c.LastSeen.After(last.Add(openimds.MetricPeriod)):
		return false // or it has come with a token since
	}
	return period > 0 && now.Before(last.Add(period+period/2))
}

// callers are those of an instance since a time, those among them that did anything without a token or lost one.
func (o OpenIMDS) callers(ctx context.Context, name string, since time.Time) ([]Caller, error) {
	callers := []Caller{}
	request := wire.GetCallersRequest{InstanceName: name}
	if !since.IsZero() {
		request.Since = awsjson.At(since.Truncate(time.Millisecond))
	}
	for page, err := range client.Pages(ctx, o.api, wire.GetCallers, request) {
		if err != nil {
			return nil, gone(err)
		}
		for _, c := range page.Callers {
			callers = append(callers, callerOf(c, since))
		}
	}
	return callers, nil
}

func callerOf(c wire.MetadataCaller, since time.Time) Caller {
	shown := Caller{
		Source: c.Source, UserAgent: c.UserAgent, PathGroup: c.PathGroup,
		NoToken:  c.Counts[openimds.MetricNoToken] + c.Counts[openimds.CountNoTokenFailed],
		Rejected: c.Counts[openimds.MetricNoTokenRejected], Failed: c.Counts[openimds.CountNoTokenFailed],
		WithToken:    c.Counts[openimds.MetricWithToken],
		FirstNoToken: c.FirstWithoutToken.OrZero(), LastNoToken: c.LastWithoutToken.OrZero(),
		Lost: c.Counts[openimds.MetricTokenUndelivered], Period: c.Period.Text,
	}
	if c.Process != nil {
		shown.Process = c.Process.Command()
	}
	for _, what := range c.Advice {
		shown.Advice = append(shown.Advice, what.Text)
	}
	if openimds.V1Calls(c.Counts) > 0 && len(c.Advice) > 0 {
		shown.ForHop = new(len(c.Advice) == 1 && c.Advice[0].Code == advice.RaiseHopLimit)
	}
	if u := c.TokenUndelivered; u != nil {
		shown.LostLast, shown.LostAt, shown.NeededHopLimit = u.Time.Time, u.HopLimit, u.NeededHopLimit
	}
	if shown.LostLast.Before(since) {
		shown.Lost = 0
	}
	return shown
}

// Watch is [Provider].
func (o OpenIMDS) Watch() Watch { return &countWatch{of: o, on: map[Ref]*countSeen{}} }

// maxWaited is how many instances one request waits for, and maxRefusalsWait for how many seconds at most.
const (
	maxWaited       = 1000
	maxRefusalsWait = wire.RefusalsWait(3)
)

// wait asks for the numbers of refused calls of the instances.
func (o OpenIMDS) wait(ctx context.Context, of []wire.SeenRefusals, seconds wire.RefusalsWait) (wire.WaitForRefusalsResult, error) {
	return client.Call(ctx, o.api, wire.WaitForRefusals, wire.WaitForRefusalsRequest{Instances: of, WaitSeconds: seconds})
}

// refusedSince are the callers of an instance whose calls without a token came to nothing since then.
func (o OpenIMDS) refusedSince(ctx context.Context, of Ref, since time.Time) ([]Refusal, error) {
	callers, err := o.callers(ctx, of.Name, since)
	if err != nil {
		return nil, err
	}
	refused := []Refusal{}
	for _, c := range callers {
		if c.Rejected > 0 && !c.LastNoToken.Before(since) {
			refused = append(refused, Refusal{Instance: of, Caller: &c, Time: c.LastNoToken, Count: c.Rejected})
		}
	}
	return slices.Clip(refused), nil
}
