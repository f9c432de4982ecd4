package scenario

import (
	"context"
	"fmt"
	"time"

	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/control"
)

// Play announces each step when it is due, counted from now, and tells of each change. It ends with the first
// error, which names the instance, or with the context.
func (t *Timeline) Play(ctx context.Context, c *client.Client, told func(wire.Operation) error) error {
	start := time.Now()
	for i := range t.steps {
		m := &t.steps[i]
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(start.Add(time.Duration(m.At)))):
		}
		request := EventsRequest(m.update(time.Now()))
		for _, request.InstanceName = range m.Instances {
			result, err := client.Call(ctx, c, wire.UpdateInstanceEvents, request)
			if err == nil {
				err = told(result.Operation)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", request.InstanceName, err)
			}
		}
	}
	return nil
}

// Meet asks for every instance that is named, so that a misspelt one is found before the first step. An error
// names the line.
func (t *Timeline) Meet(ctx context.Context, c *client.Client) error {
	known := map[string]bool{}
	for i := range t.steps {
		for _, name := range t.steps[i].Instances {
			if known[name] {
				continue
			}
			if _, err := client.Call(ctx, c, wire.GetInstanceState, wire.InstanceRequest{InstanceName: name}); err != nil {
				return fmt.Errorf("line %d: %w", t.steps[i].line, err)
			}
			known[name] = true
		}
	}
	return nil
}

// EventsRequest is a change of what is announced, as it is asked for, but for the instance.
func EventsRequest(u control.EventsUpdate) wire.UpdateInstanceEventsRequest {
	r := wire.UpdateInstanceEventsRequest{LifecycleState: u.LifecycleState}
	for _, kind := range u.Clear {
		r.Clear = append(r.Clear, string(kind))
	}
	if u.Spot != nil {
		r.Spot = &wire.SpotEvent{Action: u.Spot.Action, Time: awsjson.At(u.Spot.Time)}
	}
	if u.RebalanceAt != nil {
		r.Rebalance = &wire.RebalanceEvent{NoticeTime: awsjson.At(*u.RebalanceAt)}
	}
	if m := u.Maintenance; m != nil {
		r.Maintenance = &wire.MaintenanceChange{
			EventID: m.ID, Code: m.Code, Description: m.Description, State: m.State,
			NotBefore: given(m.NotBefore), NotAfter: given(m.NotAfter), NotBeforeDeadline: given(m.NotBeforeDeadline),
		}
	}
	return r
}

// given is a time on the wire, where there is one.
func given(t time.Time) *awsjson.Epoch {
	if t.IsZero() {
		return nil
	}
	return awsjson.At(t)
}
