package lightsail

import (
	"context"
	"reflect"

	"github.com/openimds/openimds"
)

// The prefixes of targets: Lightsail's operations, and those that Lightsail does not have.
const (
	targetLightsail = "Lightsail_20161128."
	targetOpenIMDS  = "OpenIMDS_20261122."
)

// action is what a target stands for.
type action struct {
	// changes says that the operation may change something; keys that only look may not ask for it.
	changes bool
	// run reads the request and carries it out.
	run func(a *api, ctx context.Context, body []byte) (any, error)
	// request and result are the structures that stand on the wire; nil: the operation is not built.
	request, result reflect.Type
}

// looks makes the action of an operation that changes nothing.
func looks[Q, R any](f func(*api, context.Context, *Q) (R, error)) action {
	return action{
		request: reflect.TypeFor[Q](), result: reflect.TypeFor[R](),
		run: func(a *api, ctx context.Context, body []byte) (any, error) {
			request := new(Q)
			if err := decode(body, request); err != nil {
				return nil, err
			}
			if err := check(request); err != nil {
				return nil, err
			}
			return f(a, ctx, request)
		},
	}
}

// changes makes the action of an operation that may change something.
func changes[Q, R any](f func(*api, context.Context, *Q) (R, error)) action {
	act := looks(f)
	act.changes = true
	return act
}

// absent makes the action of an operation of Lightsail's that is not built.
func absent(name string) action {
	return action{run: func(*api, context.Context, []byte) (any, error) {
		return nil, openimds.Errorf(openimds.OperationFailure, "", "The operation %s is not built in openimds", name)
	}}
}

// table has every target that is answered.
func table() map[string]action {
	targets := make(map[string]action, len(modelled()))
	for _, name := range modelled() {
		targets[targetLightsail+name] = absent(name)
	}
	for name, act := range lightsailActions() {
		targets[targetLightsail+name] = act
	}
	for name, act := range openIMDSActions() {
		targets[targetOpenIMDS+name] = act
	}
	return targets
}

// lightsailActions are the operations of Lightsail that are built.
func lightsailActions() map[string]action {
	return map[string]action{
		"CreateInstances":  changes((*api).createInstances),
		"DeleteInstance":   changes((*api).deleteInstance),
		"GetInstance":      looks((*api).getInstance),
		"GetInstances":     looks((*api).getInstances),
		"GetInstanceState": looks((*api).getInstanceState),
		"RebootInstance":   changes((*api).rebootInstance),
		"SetIpAddressType": changes((*api).setIPAddressType),
		"StartInstance":    changes((*api).startInstance),
		"StopInstance":     changes((*api).stopInstance),

		"UpdateInstanceMetadataOptions": changes((*api).updateOptions),
		"GetInstanceMetricData":         looks((*api).getInstanceMetricData),

		"DeleteKnownHostKeys":    changes((*api).deleteKnownHostKeys),
		"GetInstancePortStates":  looks((*api).getPortStates),
		"PutInstancePublicPorts": changes((*api).putPublicPorts),

		"GetOperation":             looks((*api).getOperation),
		"GetOperations":            looks((*api).getOperations),
		"GetOperationsForResource": looks((*api).getOperationsForResource),

		"CreateKeyPair": changes((*api).createKeyPair),
		"DeleteKeyPair": changes((*api).deleteKeyPair),
		// It makes the default pair at first use, and shows a private key: nothing for a key that only looks.
		"DownloadDefaultKeyPair": changes((*api).downloadDefaultKeyPair),
		"GetKeyPair":             looks((*api).getKeyPair),
		"GetKeyPairs":            looks((*api).getKeyPairs),
		"ImportKeyPair":          changes((*api).importKeyPair),

		"AllocateStaticIp": changes((*api).allocateStaticIP),
		"AttachStaticIp":   changes((*api).attachStaticIP),
		"DetachStaticIp":   changes((*api).detachStaticIP),
		"GetStaticIp":      looks((*api).getStaticIP),
		"GetStaticIps":     looks((*api).getStaticIPs),
		"ReleaseStaticIp":  changes((*api).releaseStaticIP),

		"DeleteAlarm": changes((*api).deleteAlarm),
		"GetAlarms":   looks((*api).getAlarms),
		"PutAlarm":    changes((*api).putAlarm),
		"TestAlarm":   changes((*api).testAlarm),

		"TagResource":   changes((*api).tagResource),
		"UntagResource": changes((*api).untagResource),

		"GetActiveNames": looks((*api).getActiveNames),
		"GetBlueprints":  looks((*api).getBlueprints),
		"GetBundles":     looks((*api).getBundles),
		"GetRegions":     looks((*api).getRegions),
		"IsVpcPeered":    looks((*api).isVPCPeered),
	}
}

// openIMDSActions are the operations that Lightsail does not have.
func openIMDSActions() map[string]action {
	return map[string]action{
		"AttachInstance":       changes((*api).attachInstance),
		"DescribeInstance":     looks((*api).describeInstance),
		"DescribeService":      looks((*api).describeService),
		"DetachInstance":       changes((*api).detachInstance),
		"GetAttachments":       looks((*api).getAttachments),
		"GetCallers":           looks((*api).getCallers),
		"GetGuardedPlaces":     looks((*api).getGuardedPlaces),
		"GetMetadataCounts":    looks((*api).getMetadataCounts),
		"GetMetricData":        looks((*api).getMetricData),
		"ReleasePlaces":        changes((*api).releasePlaces),
		"SetInstance":          changes((*api).setInstance),
		"UpdateInstanceEvents": changes((*api).updateInstanceEvents),
		"UpdateInstanceFaults": changes((*api).updateInstanceFaults),
	}
}
