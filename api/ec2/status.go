package ec2

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/ec2/wire"
	"github.com/openimds/openimds/control"
)

func (c *call) describeInstanceStatus(ctx context.Context, in *wire.DescribeInstanceStatusRequest) (wire.DescribeInstanceStatusResult, error) {
	result := wire.DescribeInstanceStatusResult{Statuses: []wire.InstanceStatus{}}
	var only func(*openimds.Instance) bool
	if !in.IncludeAllInstances {
		only = func(in *openimds.Instance) bool { return in.State == openimds.StateRunning }
	}
	own, others := splitFilters(in.Filters)
	filters, err := readFilters(own, statusAttributes)
	if err != nil {
		return result, err
	}
	found, next, err := c.find(ctx, c.list("DescribeInstanceStatus", in.InstanceIDs, in.Filters, in.IncludeAllInstances), in.InstanceIDs, others, in.MaxResults, in.NextToken, only)
	if err != nil {
		return result, err
	}
	result.NextToken = next
	for _, one := range found {
		if only != nil && !only(one) { // by its id
			continue
		}
		health, err := c.service.Health(ctx, one)
		if err != nil {
			return result, err
		}
		shown := wire.InstanceStatus{
			InstanceID: one.ID, AvailabilityZone: one.Zone, Events: events(one), InstanceState: stateOf(one.State), SystemStatus: summary(health),
		}
		health.Impaired = false // of the guest itself nothing is known
		shown.InstanceStatus = summary(health)
		matches, err := filters.match(ctx, &shown)
		if err != nil {
			return result, err
		}
		if matches {
			result.Statuses = append(result.Statuses, shown)
		}
	}
	return result, nil
}

// splitFilters tells the filters for what the checks say from those for instances.
func splitFilters(asked []wire.Filter) (own, others []wire.Filter) {
	for _, f := range asked {
		if _, known := statusAttributes(nil, f.Name); known {
			own = append(own, f)
		} else {
			others = append(others, f)
		}
	}
	return own, others
}

func statusAttributes(s *wire.InstanceStatus, filter string) ([]string, bool) {
	if s == nil {
		s = &wire.InstanceStatus{}
	}
	reachable := func(of wire.StatusSummary) (all []string) {
		for _, d := range of.Details {
			all = append(all, d.Status)
		}
		return all
	}
	switch filter {
	case "instance-status.status":
		return one(s.InstanceStatus.Status), true
	case "instance-status.reachability":
		return reachable(s.InstanceStatus), true
	case "system-status.status":
		return one(s.SystemStatus.Status), true
	case "system-status.reachability":
		return reachable(s.SystemStatus), true
	case "event.code":
		var codes []string
		for _, e := range s.Events {
			codes = append(codes, e.Code)
		}
		return codes, true
	}
	return nil, false
}

func summary(h control.Health) wire.StatusSummary {
	switch {
	case !h.Checked:
		return wire.StatusSummary{Status: "not-applicable", Details: []wire.StatusDetail{}}
	case !h.Impaired:
		return wire.StatusSummary{Status: "ok", Details: []wire.StatusDetail{{Name: "reachability", Status: "passed"}}}
	}
	return wire.StatusSummary{Status: "impaired", Details: []wire.StatusDetail{{Name: "reachability", Status: "failed", ImpairedSince: h.Since}}}
}

// events are the scheduled events that are announced to the guest as well.
func events(in *openimds.Instance) []wire.InstanceEvent {
	all := []wire.InstanceEvent{}
	for _, e := range in.Events.Maintenance {
		all = append(all, wire.InstanceEvent{
			InstanceEventID: e.ID, Code: e.Code, Description: e.ShownDescription(),
			NotBefore: e.NotBefore, NotAfter: e.NotAfter, NotBeforeDeadline: e.NotBeforeDeadline,
		})
	}
	return all
}
