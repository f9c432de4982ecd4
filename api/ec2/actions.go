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
func act[Q, R any](name string, changes bool, f func(*call, context.Context, *Q) (R, error)) action {
	return action{
		name: name, changes: changes, request: reflect.TypeFor[Q](), result: reflect.TypeFor[R](),
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
	const looks, changes = false, true
	return []action{
		act("DescribeInstances", looks, (*call).describeInstances),
		act("DescribeInstanceStatus", looks, (*call).describeInstanceStatus),
		act("DescribeInstanceAttribute", looks, (*call).describeInstanceAttribute),
		act("RunInstances", changes, (*call).runInstances),
		act("StartInstances", changes, (*call).startInstances),
		act("StopInstances", changes, (*call).stopInstances),
		act("RebootInstances", changes, (*call).rebootInstances),
		act("TerminateInstances", changes, (*call).terminateInstances),

		act("ModifyInstanceMetadataOptions", changes, (*call).modifyOptions),
		act("GetInstanceMetadataDefaults", looks, (*call).getDefaults),
		act("ModifyInstanceMetadataDefaults", changes, (*call).modifyDefaults),

		act("DescribeTags", looks, (*call).describeTags),
		act("CreateTags", changes, (*call).createTags),
		act("DeleteTags", changes, (*call).deleteTags),

		act("DescribeKeyPairs", looks, (*call).describeKeyPairs),
		act("ImportKeyPair", changes, (*call).importKeyPair),

		act("DescribeRegions", looks, (*call).describeRegions),
		act("DescribeAvailabilityZones", looks, (*call).describeAvailabilityZones),
		act("DescribeInstanceTypes", looks, (*call).describeInstanceTypes),
		act("DescribeImages", looks, (*call).describeImages),
	}
}

// Done is what actions answer that have no more to say.
func done(err error) (wire.Done, error) { return wire.Done{Return: err == nil}, err }
