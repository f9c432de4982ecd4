package ec2

import (
	"context"
	"reflect"

	"github.com/openimds/openimds/api/ec2/wire"
	"github.com/openimds/openimds/api/ec2query"
)

// action is what can be asked for.
type action struct {
	name    string
	changes bool
	run     func(*call, context.Context, *ec2query.Form) (any, error)
	// request and result are the structures that stand on the wire.
	request, result reflect.Type
}

// act makes an action: reading, constraints, handler.
func act[Q, R any](target wire.Target[Q, R], f func(*call, context.Context, *Q) (R, error)) action {
	return action{
		name: target.Name, changes: target.Changes, request: reflect.TypeFor[Q](), result: reflect.TypeFor[R](),
		run: func(c *call, ctx context.Context, form *ec2query.Form) (any, error) {
			request := new(Q)
			if err := ec2query.Decode(form, request); err != nil {
				return nil, err
			}
			return f(c, ctx, request)
		},
	}
}

// actions are all that are built.
func actions() []action {
	return []action{
		act(wire.DescribeInstances, (*call).describeInstances),
		act(wire.DescribeInstanceStatus, (*call).describeInstanceStatus),
		act(wire.DescribeInstanceAttribute, (*call).describeInstanceAttribute),
		act(wire.RunInstances, (*call).runInstances),
		act(wire.StartInstances, (*call).startInstances),
		act(wire.StopInstances, (*call).stopInstances),
		act(wire.RebootInstances, (*call).rebootInstances),
		act(wire.TerminateInstances, (*call).terminateInstances),

		act(wire.ModifyInstanceMetadataOptions, (*call).modifyOptions),
		act(wire.GetInstanceMetadataDefaults, (*call).getDefaults),
		act(wire.ModifyInstanceMetadataDefaults, (*call).modifyDefaults),

		act(wire.DescribeTags, (*call).describeTags),
		act(wire.CreateTags, (*call).createTags),
		act(wire.DeleteTags, (*call).deleteTags),

		act(wire.DescribeKeyPairs, (*call).describeKeyPairs),
		act(wire.ImportKeyPair, (*call).importKeyPair),

		act(wire.DescribeRegions, (*call).describeRegions),
		act(wire.DescribeAvailabilityZones, (*call).describeAvailabilityZones),
		act(wire.DescribeInstanceTypes, (*call).describeInstanceTypes),
		act(wire.DescribeImages, (*call).describeImages),
	}
}

// Done is what actions answer that have no more to say.
func done(err error) (wire.Done, error) { return wire.Done{Return: err == nil}, err }
