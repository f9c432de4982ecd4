package lightsail

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/advice"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

const (
	worstTold   = 10 // of how many instances points are told unless it is said
	callersTold = 20 // how many callers are told unless it is said
	callersMost = 200
	// namesTold is how many instances are named of one caller.
	namesTold = 20
)

func (a *protocol) getFleetMetricData(ctx context.Context, in *wire.GetFleetMetricDataRequest) (wire.GetFleetMetricDataResult, error) {
	metric, worst := string(in.MetricName), worstTold
	if in.Worst != nil {
		worst = *in.Worst
	}
	result := wire.GetFleetMetricDataResult{MetricName: metric, Datapoints: []wire.FleetDatapoint{}, Worst: []wire.WorstInstance{}}
	told, err := a.service.FleetMetric(ctx, metric, in.StartTime.Time, in.EndTime.Time, time.Duration(*in.Period)*time.Second, worst)
	if err != nil {
		return result, err
	}
	for _, p := range told.Points {
		result.Datapoints = append(result.Datapoints, wire.FleetDatapoint{Timestamp: awsjson.Epoch{Time: p.Start}, Sum: p.Sum, SampleCount: p.Samples})
	}
	for _, one := range told.Worst {
		shown := wire.WorstInstance{InstanceName: one.Name, Sum: one.Sum, Datapoints: []wire.FleetDatapoint{}}
		for _, p := range one.Points {
			shown.Datapoints = append(shown.Datapoints, wire.FleetDatapoint{Timestamp: awsjson.Epoch{Time: p.Start}, Sum: int64(p.Sum), SampleCount: p.Samples})
		}
		result.Worst = append(result.Worst, shown)
	}
	result.Incomplete = incomplete(told.Unknown)
	return result, nil
}

// incomplete says what is not known.
func incomplete(u control.FleetUnknown) []string {
	if u.Instances == 0 {
		return []string{}
	}
	names := strings.Join(u.Names, ", ")
	if u.Instances > len(u.Names) {
		names += ", …"
	}
	which := "1 instance"
	if u.Instances > 1 {
		which = fmt.Sprintf("%d instances", u.Instances)
	}
	unit := time.Minute
	if u.Time < unit {
		unit = time.Second
	}
	unknown := max(u.Time.Round(unit), time.Second) // never nothing
	return []string{fmt.Sprintf("Not all of that time is known of %s: in all, %s are not (%s)", which, openimds.Brief(unknown), names)}
}

func (a *protocol) getFleetCallers(ctx context.Context, in *wire.GetFleetCallersRequest) (wire.GetFleetCallersResult, error) {
	result, limit := wire.GetFleetCallersResult{Callers: []wire.FleetCaller{}}, callersTold
	if in.Limit != nil {
		limit = *in.Limit
	}
	if limit < 1 || limit > callersMost {
		return result, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "There are 1 to %d callers told, not %d", callersMost, limit)
	}
	since := a.fleetSince(in.Since)
	found, unknown, err := a.service.CallersWithoutToken(ctx, since)
	if err != nil {
		return result, err
	}
	all := together(found, since)
	result.Total, result.Incomplete = len(all), incomplete(unknown)
	for _, c := range all[:min(limit, len(all))] {
		result.Callers = append(result.Callers, c.show())
	}
	return result, nil
}

// fleetCaller is one software, while it is put together.
type fleetCaller struct {
	wire.FleetCaller
	on     map[string]int64 // calls without a token by instance
	groups map[string]bool
}

// together puts the callers of all instances together that are the same software, those first that called most without
// a token.
func together(found []control.FleetCallers, since time.Time) []*fleetCaller {
	same := map[string]*fleetCaller{}
	for _, of := range found {
		todo := advised(of.All, of.Since, of.Options.HopLimit, since)
		for i, c := range of.Since {
			n := openimds.V1Calls(c.Counts)
			if n == 0 {
				continue
			}
			text, _ := json.Marshal([]any{c.UserAgent, c.Process, c.Source == openimds.OtherCallers}) // never fails
			f := same[string(text)]
			if f == nil {
				f = &fleetCaller{FleetCaller: wire.FleetCaller{
					UserAgent: c.UserAgent, Process: c.Process, Others: c.Source == openimds.OtherCallers, Agent: agentOf(c.UserAgent), Counts: map[string]int64{},
				}, on: map[string]int64{}, groups: map[string]bool{}}
				same[string(text)] = f
			}
			f.NoToken += n
			f.on[of.Name] += n
			f.groups[c.PathGroup] = true
			for name, count := range c.Counts {
				f.Counts[name] += count
			}
			if c.LastV1.After(f.LastWithoutToken.Time) {
				f.LastWithoutToken.Time = c.LastV1
			}
			for _, one := range todo[i] {
				if !slices.ContainsFunc(f.Advice, func(a advice.Advice) bool { return a.Text == one.Text }) {
					f.Advice = append(f.Advice, one)
				}
			}
		}
	}
	return slices.SortedFunc(maps.Values(same), func(a, b *fleetCaller) int {
		return cmp.Or(cmp.Compare(b.NoToken, a.NoToken), b.LastWithoutToken.Compare(a.LastWithoutToken.Time), cmp.Compare(a.UserAgent, b.UserAgent))
	})
}

func (f *fleetCaller) show() wire.FleetCaller {
	shown := f.FleetCaller
	names := slices.SortedFunc(maps.Keys(f.on), func(a, b string) int { return cmp.Or(cmp.Compare(f.on[b], f.on[a]), cmp.Compare(a, b)) })
	shown.Instances, shown.InstanceNames = len(names), names[:min(namesTold, len(names))]
	shown.PathGroups = slices.Sorted(maps.Keys(f.groups))
	return shown
}
