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
	// reveals says that a request shows what a key that only looks may not see; nil: none does.
	reveals func(body []byte) bool
	// run reads the request and carries it out.
	run func(a *protocol, ctx context.Context, body []byte) (any, error)
	// request and result are the structures that stand on the wire; nil: the operation is not built.
	request, result reflect.Type
}

// act makes the action of a target: reading, constraints, handler.
func act[Q, R any](target wire.Target[Q, R], f func(*protocol, context.Context, *Q) (R, error)) action {
	return action{
		target: target.Name, changes: target.Changes, request: reflect.TypeFor[Q](), result: reflect.TypeFor[R](),
		run: func(a *protocol, ctx context.Context, body []byte) (any, error) {
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

// guarded is an action of which some requests show what a key that only looks may not see.
func guarded(a action, reveals func(body []byte) bool) action {
	a.reveals = reveals
	return a
}

// absent makes the action of an operation of Lightsail's that is not built. Its failure is the one that all of these can
// have by the model and that no client tries again.
func absent(name string) action {
	return action{target: targetLightsail + name, run: func(*protocol, context.Context, []byte) (any, error) {
		return nil, openimds.Errorf(openimds.InvalidInput, openimds.NotEnforced, "The operation %s is not built in openimds", name)
	}}
}

// table has every target that is answered.
func table() map[string]action {
	targets := make(map[string]action, len(modelled()))
	for _, name := range modelled() {
		targets[targetLightsail+name] = absent(name)
	}
	for _, u := range unheldOperations() {
		targets[targetLightsail+u.operation] = u.action()
	}
	for _, built := range slices.Concat(lightsailActions(), openIMDSActions()) {
		targets[built.target] = built
	}
	return targets
}

// Listed is an operation of the table.
type Listed struct {
	Target  string
	Changes bool
	// Guarded says that keys that only look may not ask for it, although it changes nothing.
	Guarded bool
}

// Operations are those that are answered, by their names.
func Operations() map[string]Listed {
	operations := map[string]Listed{}
	for target, a := range table() {
		operations[operationName(target)] = Listed{target, a.changes, a.reveals != nil && a.reveals([]byte("{}"))}
	}
	return operations
}

// lightsailActions are the operations of Lightsail that are built.
func lightsailActions() []action {
	return []action{
		act(wire.CreateInstances, (*protocol).createInstances),
		act(wire.DeleteInstance, (*protocol).deleteInstance),
		act(wire.GetInstance, (*protocol).getInstance),
		act(wire.GetInstances, (*protocol).getInstances),
		act(wire.GetInstanceState, (*protocol).getInstanceState),
		act(wire.RebootInstance, (*protocol).rebootInstance),
		act(wire.SetIPAddressType, (*protocol).setIPAddressType),
		act(wire.StartInstance, (*protocol).startInstance),
		act(wire.StopInstance, (*protocol).stopInstance),

		act(wire.UpdateInstanceMetadataOptions, (*protocol).updateOptions),
		act(wire.GetInstanceMetricData, (*protocol).getInstanceMetricData),

		act(wire.CloseInstancePublicPorts, (*protocol).closePublicPorts),
		act(wire.DeleteKnownHostKeys, (*protocol).deleteKnownHostKeys),
		act(wire.GetAutoSnapshots, (*protocol).getAutoSnapshots),
		act(wire.GetCostEstimate, (*protocol).getCostEstimate),
		act(wire.GetInstanceAccessDetails, (*protocol).getAccessDetails),
		act(wire.GetInstancePortStates, (*protocol).getPortStates),
		act(wire.GetSetupHistory, (*protocol).getSetupHistory),
		act(wire.OpenInstancePublicPorts, (*protocol).openPublicPorts),
		act(wire.PutInstancePublicPorts, (*protocol).putPublicPorts),

		act(wire.GetOperation, (*protocol).getOperation),
		act(wire.GetOperations, (*protocol).getOperations),
		act(wire.GetOperationsForResource, (*protocol).getOperationsForResource),

		act(wire.CreateKeyPair, (*protocol).createKeyPair),
		act(wire.DeleteKeyPair, (*protocol).deleteKeyPair),
		act(wire.DownloadDefaultKeyPair, (*protocol).downloadDefaultKeyPair),
		act(wire.GetKeyPair, (*protocol).getKeyPair),
		act(wire.GetKeyPairs, (*protocol).getKeyPairs),
		act(wire.ImportKeyPair, (*protocol).importKeyPair),

		act(wire.AllocateStaticIP, (*protocol).allocateStaticIP),
		act(wire.AttachStaticIP, (*protocol).attachStaticIP),
		act(wire.DetachStaticIP, (*protocol).detachStaticIP),
		act(wire.GetStaticIP, (*protocol).getStaticIP),
		act(wire.GetStaticIPs, (*protocol).getStaticIPs),
		act(wire.ReleaseStaticIP, (*protocol).releaseStaticIP),

		act(wire.DeleteAlarm, (*protocol).deleteAlarm),
		act(wire.GetAlarms, (*protocol).getAlarms),
		act(wire.PutAlarm, (*protocol).putAlarm),
		act(wire.TestAlarm, (*protocol).testAlarm),

		act(wire.TagResource, (*protocol).tagResource),
		act(wire.UntagResource, (*protocol).untagResource),

		act(wire.GetActiveNames, (*protocol).getActiveNames),
		act(wire.GetBlueprints, (*protocol).getBlueprints),
		act(wire.GetBundles, (*protocol).getBundles),
		act(wire.GetProfile, (*protocol).getProfile),
		act(wire.GetRegions, (*protocol).getRegions),
		act(wire.IsVPCPeered, (*protocol).isVPCPeered),
	}
}

// openIMDSActions are the operations that Lightsail does not have.
func openIMDSActions() []action {
	return []action{
		act(wire.AttachInstance, (*protocol).attachInstance),
		act(wire.CreateConsoleLink, (*protocol).createConsoleLink),
		act(wire.DescribeInstance, (*protocol).describeInstance),
		act(wire.DescribeService, (*protocol).describeService),
		act(wire.DetachInstance, (*protocol).detachInstance),
		act(wire.DrainHost, (*protocol).drainHost),
		act(wire.EnrollHost, (*protocol).enrollHost),
		act(wire.EvictHost, (*protocol).evictHost),
		act(wire.GetAttachments, (*protocol).getAttachments),
		guarded(act(wire.GetAuditEntries, (*protocol).getAuditEntries), always),
		act(wire.GetCallers, (*protocol).getCallers),
		act(wire.GetFleet, (*protocol).getFleet),
		act(wire.GetFleetCallers, (*protocol).getFleetCallers),
		act(wire.GetFleetMetricData, (*protocol).getFleetMetricData),
		act(wire.GetGuardedPlaces, (*protocol).getGuardedPlaces),
		act(wire.GetHost, (*protocol).getHost),
		act(wire.GetHosts, (*protocol).getHosts),
		act(wire.GetInstanceMetadataDefaults, (*protocol).getDefaults),
		act(wire.GetMetadataCounts, (*protocol).getMetadataCounts),
		guarded(act(wire.GetMetadataTree, (*protocol).getMetadataTree), reveals),
		act(wire.GetMetricData, (*protocol).getMetricData),
		act(wire.GetMigrationVerdicts, (*protocol).getMigrationVerdicts),
		guarded(act(wire.GetMigrationReport, (*protocol).getMigrationReport), always),
		guarded(act(wire.MakeMigrationReport, (*protocol).makeMigrationReport), always),
		act(wire.GetMigratedInstances, (*protocol).getMigratedInstances),
		act(wire.GetMigrations, (*protocol).getMigrations),
		act(wire.GetOptionsHistory, (*protocol).getOptionsHistory),
		act(wire.GetReportKey, (*protocol).getReportKey),
		act(wire.LaunchInstances, (*protocol).launchInstances),
		act(wire.ModifyInstanceMetadataDefaults, (*protocol).modifyDefaults),
		act(wire.ReleasePlaces, (*protocol).releasePlaces),
		act(wire.SearchInstances, (*protocol).searchInstances),
		act(wire.SetInstance, (*protocol).setInstance),
		act(wire.SignReport, (*protocol).signReport),
		act(wire.StartRehearsal, (*protocol).startRehearsal),
		act(wire.StopRehearsal, (*protocol).stopRehearsal),
		act(wire.TellMigration, (*protocol).tellMigration),
		act(wire.UndrainHost, (*protocol).undrainHost),
		act(wire.UpdateInstanceEvents, (*protocol).updateInstanceEvents),
		act(wire.SendSSHPublicKey, (*protocol).sendSSHPublicKey),
		act(wire.UpdateInstanceFaults, (*protocol).updateInstanceFaults),
		act(wire.WaitForRefusals, (*protocol).waitForRefusals),
	}
}
