package lightsail

import (
	"context"
	"reflect"
	"slices"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// targetLightsail is the prefix of Lightsail's own targets.
const targetLightsail = "Lightsail_20161128."

// action is what a target stands for.
type action struct {
	target  string
	changes bool
	// run reads the request and carries it out.
	run func(a *api, ctx context.Context, body []byte) (any, error)
	// request and result are the structures that stand on the wire; nil: the operation is not built.
	request, result reflect.Type
}

// act makes the action of a target: reading, constraints, handler.
func act[Q, R any](target wire.Target[Q, R], f func(*api, context.Context, *Q) (R, error)) action {
	return action{
		target: target.Name, changes: target.Changes, request: reflect.TypeFor[Q](), result: reflect.TypeFor[R](),
		run: func(a *api, ctx context.Context, body []byte) (any, error) {
			request := new(Q)
			if err := awsjson.Decode(body, request); err != nil {
				return nil, err
			}
			if err := awsjson.Check(request); err != nil {
				return nil, err
			}
			return f(a, ctx, request)
		},
	}
}

// absent makes the action of an operation of Lightsail's that is not built.
func absent(name string) action {
	return action{target: targetLightsail + name, run: func(*api, context.Context, []byte) (any, error) {
		return nil, openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "The operation %s is not built in openimds", name)
	}}
}

// table has every target that is answered.
func table() map[string]action {
	targets := make(map[string]action, len(modelled()))
	for _, name := range modelled() {
		targets[targetLightsail+name] = absent(name)
	}
	for _, built := range slices.Concat(lightsailActions(), openIMDSActions()) {
		targets[built.target] = built
	}
	return targets
}

// lightsailActions are the operations of Lightsail that are built.
func lightsailActions() []action {
	return []action{
		act(wire.CreateInstances, (*api).createInstances),
		act(wire.DeleteInstance, (*api).deleteInstance),
		act(wire.GetInstance, (*api).getInstance),
		act(wire.GetInstances, (*api).getInstances),
		act(wire.GetInstanceState, (*api).getInstanceState),
		act(wire.RebootInstance, (*api).rebootInstance),
		act(wire.SetIPAddressType, (*api).setIPAddressType),
		act(wire.StartInstance, (*api).startInstance),
		act(wire.StopInstance, (*api).stopInstance),

		act(wire.UpdateInstanceMetadataOptions, (*api).updateOptions),
		act(wire.GetInstanceMetricData, (*api).getInstanceMetricData),

		act(wire.DeleteKnownHostKeys, (*api).deleteKnownHostKeys),
		act(wire.GetInstancePortStates, (*api).getPortStates),
		act(wire.PutInstancePublicPorts, (*api).putPublicPorts),

		act(wire.GetOperation, (*api).getOperation),
		act(wire.GetOperations, (*api).getOperations),
		act(wire.GetOperationsForResource, (*api).getOperationsForResource),

		act(wire.CreateKeyPair, (*api).createKeyPair),
		act(wire.DeleteKeyPair, (*api).deleteKeyPair),
		act(wire.DownloadDefaultKeyPair, (*api).downloadDefaultKeyPair),
		act(wire.GetKeyPair, (*api).getKeyPair),
		act(wire.GetKeyPairs, (*api).getKeyPairs),
		act(wire.ImportKeyPair, (*api).importKeyPair),

		act(wire.AllocateStaticIP, (*api).allocateStaticIP),
		act(wire.AttachStaticIP, (*api).attachStaticIP),
		act(wire.DetachStaticIP, (*api).detachStaticIP),
		act(wire.GetStaticIP, (*api).getStaticIP),
		act(wire.GetStaticIPs, (*api).getStaticIPs),
		act(wire.ReleaseStaticIP, (*api).releaseStaticIP),

		act(wire.DeleteAlarm, (*api).deleteAlarm),
		act(wire.GetAlarms, (*api).getAlarms),
		act(wire.PutAlarm, (*api).putAlarm),
		act(wire.TestAlarm, (*api).testAlarm),

		act(wire.TagResource, (*api).tagResource),
		act(wire.UntagResource, (*api).untagResource),

		act(wire.GetActiveNames, (*api).getActiveNames),
		act(wire.GetBlueprints, (*api).getBlueprints),
		act(wire.GetBundles, (*api).getBundles),
		act(wire.GetRegions, (*api).getRegions),
		act(wire.IsVPCPeered, (*api).isVPCPeered),
	}
}

// openIMDSActions are the operations that Lightsail does not have.
func openIMDSActions() []action {
	return []action{
		act(wire.AttachInstance, (*api).attachInstance),
		act(wire.DescribeInstance, (*api).describeInstance),
		act(wire.DescribeService, (*api).describeService),
		act(wire.DetachInstance, (*api).detachInstance),
		act(wire.GetAttachments, (*api).getAttachments),
		act(wire.GetCallers, (*api).getCallers),
		act(wire.GetGuardedPlaces, (*api).getGuardedPlaces),
		act(wire.GetMetadataCounts, (*api).getMetadataCounts),
		act(wire.GetMetricData, (*api).getMetricData),
		act(wire.ReleasePlaces, (*api).releasePlaces),
		act(wire.SetInstance, (*api).setInstance),
		act(wire.UpdateInstanceEvents, (*api).updateInstanceEvents),
		act(wire.UpdateInstanceFaults, (*api).updateInstanceFaults),
	}
}
