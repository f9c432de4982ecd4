package scenario

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/scenario/aemm"
)

// Import is what something foreign makes of an instance.
type Import struct {
	set    wire.SetInstanceRequest
	tokens string // empty: as they are
	events *wire.UpdateInstanceEventsRequest
}

// OfRecording has an instance answer what was recorded.
func OfRecording(r *openimds.Recording) Import {
	recording := &wire.Recording{Source: r.Source, RecordedAt: awsjson.At(r.RecordedAt.Truncate(time.Second)), Items: []wire.RecordedItem{}}
	for _, it := range r.Items {
		recording.Items = append(recording.Items, wire.RecordedItem{
			Path: it.Path, Listing: it.Listing, ContentType: it.ContentType, Modified: given(it.Modified.Truncate(time.Second)),
			Body: it.Body, State: wire.RecordedState(it.State),
		})
	}
	return Import{set: wire.SetInstanceRequest{Recording: recording}}
}

// OfMock has an instance answer what a configuration of amazon-ec2-metadata-mock says.
func OfMock(p *aemm.Plan) Import {
	i := Import{set: wire.SetInstanceRequest{
		Overlay: p.Overlay, OverlayRemove: p.Uncover, UserData: (*awsjson.Blob)(p.UserData), RoleName: p.RoleName,
	}}
	if p.Tokens != nil {
		i.tokens = string(*p.Tokens)
	}
	if p.Spot != nil || p.RebalanceAt != nil || p.Maintenance != nil {
		events := EventsRequest(control.EventsUpdate{Spot: p.Spot, RebalanceAt: p.RebalanceAt, Maintenance: p.Maintenance})
		i.events = &events
	}
	return i
}

// undoTime is how long the undoing of an import may take, after whatever made it fail.
const undoTime = 10 * time.Second

// Onto makes the import of an instance, and the instance if there is none of that name, in the client's region.
// It happens whole or not at all: when a change is refused, those before it are taken back, and an instance
// that was made for it is deleted. An error says so if that failed too; then the instance is left in between.
// Where no answer to a change came ([*client.Unreachable]), nobody knows whether it was made: what came before it
// is taken back, and the error says that the instance has to be looked at.
// It tells of the changes of the instance, once all are made.
func (i Import) Onto(ctx context.Context, c *client.Client, name string, told func(wire.Operation) error) error {
	done, err := i.make(ctx, c, name)
	if err != nil {
		return err
	}
	for _, operation := range done {
		if err := told(operation); err != nil {
			return err
		}
	}
	return nil
}

// change is a part of an import, and how it is taken back.
type change struct {
	do   func(context.Context) (wire.Operation, error)
	undo func(context.Context) error
	what string // that is left if undo fails
}

// make makes the changes. The last one that can be refused needs no undoing.
func (i Import) make(ctx context.Context, c *client.Client, name string) (done []wire.Operation, err error) {
	before, err := i.before(ctx, c, name)
	if err != nil {
		return nil, err
	}
	var made []change
	defer func() {
		if err != nil {
			err = takeBack(ctx, err, made)
		}
	}()
	if before == nil {
		creating, err := create(ctx, c, name)
		if err != nil {
			return nil, perhapsMade(err, name)
		}
		made = append(made, change{what: "the instance " + name + ", made for this, could not be deleted", undo: func(ctx context.Context) error {
			_, err := client.Call(ctx, c, wire.DeleteInstance, wire.DeleteInstanceRequest{InstanceName: name})
			return err
		}})
		if _, err := client.Wait(ctx, c, creating); err != nil { // its options can be changed when it runs
			return nil, err
		}
	}
	for _, next := range i.changes(c, name, before) {
		operation, err := next.do(ctx)
		if err != nil && before != nil {
			return nil, perhapsMade(err, name)
		}
		if err != nil {
			return nil, err // what was made of it goes with the instance
		}
		done = append(done, operation)
		if before != nil {
			made = append(made, next)
		}
	}
	return done, nil
}

// perhapsMade says of a change whose answer was lost that it may have been made.
func perhapsMade(err error, name string) error {
	if _, lost := errors.AsType[*client.Unreachable](err); !lost {
		return err
	}
	return fmt.Errorf("%w; whether %s was changed is not known: look with 'openimds instance show %s'", err, name, name)
}

// before is the instance as it is; nil: there is none. It has user data and overlay only where something may
// have to be taken back.
func (i Import) before(ctx context.Context, c *client.Client, name string) (*wire.WholeInstance, error) {
	var in wire.WholeInstance
	var err error
	if i.tokens == "" && i.events == nil {
		_, err = client.Call(ctx, c, wire.GetInstance, wire.GetInstanceRequest{InstanceName: name})
	} else {
		var result wire.DescribeInstanceResult
		result, err = client.Call(ctx, c, wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: name, IncludeUserData: true})
		in = result.Instance
	}
	if refused, ok := errors.AsType[*client.Error](err); ok && refused.NotFound() {
		return nil, nil
	}
	return &in, err
}

// create makes an instance to be changed.
func create(ctx context.Context, c *client.Client, name string) ([]wire.Operation, error) {
	result, err := client.Call(ctx, c, wire.LaunchInstances, wire.LaunchInstancesRequest{InstanceNames: []string{name}})
	return result.Operations, err
}

// changes are the parts, those that may be refused for what the file says first: what is announced cannot be
// taken back as it was, so it is the last.
func (i Import) changes(c *client.Client, name string, before *wire.WholeInstance) []change {
	set := i.set
	set.InstanceName = name
	all := []change{{
		do: func(ctx context.Context) (wire.Operation, error) {
			result, err := client.Call(ctx, c, wire.SetInstance, set)
			return result.Operation, err
		},
		what: "the values of " + name + " could not be set back",
		undo: func(ctx context.Context) error {
			_, err := client.Call(ctx, c, wire.SetInstance, backTo(before, set))
			return err
		},
	}}
	if i.tokens != "" {
		tokens := func(to wire.HTTPTokens) func(context.Context) (wire.Operation, error) {
			return func(ctx context.Context) (wire.Operation, error) {
				result, err := client.Call(ctx, c, wire.UpdateInstanceMetadataOptions, wire.UpdateInstanceMetadataOptionsRequest{InstanceName: name, HTTPTokens: &to})
				return result.Operation, err
			}
		}
		all = append(all, change{do: tokens(wire.HTTPTokens(i.tokens)), what: "the options of " + name + " could not be set back", undo: func(ctx context.Context) error {
			_, err := tokens(wire.HTTPTokens(before.Options.Tokens))(ctx)
			return err
		}})
	}
	if i.events != nil {
		events := *i.events
		events.InstanceName = name
		all = append(all, change{do: func(ctx context.Context) (wire.Operation, error) {
			result, err := client.Call(ctx, c, wire.UpdateInstanceEvents, events)
			return result.Operation, err
		}})
	}
	return all
}

// backTo is the change that takes another back.
func backTo(before *wire.WholeInstance, set wire.SetInstanceRequest) wire.SetInstanceRequest {
	back := wire.SetInstanceRequest{InstanceName: set.InstanceName, Overlay: map[string]*string{}}
	for _, path := range slices.Concat(slices.Collect(maps.Keys(set.Overlay)), set.OverlayRemove) {
		if value, was := before.Overlay[path]; was {
			back.Overlay[path] = value
		} else {
			back.OverlayRemove = append(back.OverlayRemove, path)
		}
	}
	if set.UserData != nil {
		data := awsjson.Blob{}
		if before.UserData != nil {
			data = before.UserData
		}
		back.UserData = &data
	}
	if set.RoleName != nil {
		role := ""
		if before.Role != nil {
			role = before.Role.Name
		}
		back.RoleName = &role
	}
	return back
}

// takeBack takes changes back, the last one first. It goes on although the context may have ended.
func takeBack(ctx context.Context, err error, made []change) error {
	ctx, over := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer over()
	for _, c := range slices.Backward(made) {
		if undone := c.undo(ctx); undone != nil {
			err = fmt.Errorf("%w; and %s: %w", err, c.what, undone)
		}
	}
	return err
}
