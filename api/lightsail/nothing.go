package lightsail

import (
	"context"
	"fmt"
	"reflect"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// unheld is an operation that reads what this installation never has any of. Tools that take stock of an
// account ask for all kinds, and stop at the first one that is refused.
type unheld struct {
	operation string
	// list is the member of the answer that is an empty list; empty: there is no such member.
	list string
	// kind and name are what a request asks for one of, and the member that has its name; empty: all are
	// asked for.
	kind openimds.ResourceType
	name string
	// needsName says that a request has to name one.
	needsName bool
}

// unheldOperations has these operations. The catalogues among them are of what cannot be made here.
func unheldOperations() []unheld {
	all := func(operation, list string) unheld { return unheld{operation: operation, list: list} }
	some := func(operation, list string, kind openimds.ResourceType, name string) unheld {
		return unheld{operation: operation, list: list, kind: kind, name: name}
	}
	one := func(operation string, kind openimds.ResourceType, name string) unheld {
		return unheld{operation: operation, kind: kind, name: name, needsName: true}
	}
	const (
		bucket, certificate, container, distribution = "Bucket", "Certificate", "ContainerService", "Distribution"
		balancer, database                           = "LoadBalancer", "RelationalDatabase"
	)
	return []unheld{
		all("GetBucketBundles", "bundles"),
		all("GetCloudFormationStackRecords", "cloudFormationStackRecords"),
		all("GetContactMethods", "contactMethods"),
		all("GetContainerAPIMetadata", "metadata"),
		all("GetContainerServicePowers", "powers"),
		all("GetDiskSnapshots", "diskSnapshots"),
		all("GetDisks", "disks"),
		all("GetDistributionBundles", "bundles"),
		all("GetDomains", "domains"),
		all("GetExportSnapshotRecords", "exportSnapshotRecords"),
		all("GetInstanceSnapshots", "instanceSnapshots"),
		all("GetLoadBalancerTlsPolicies", "tlsPolicies"),
		all("GetLoadBalancers", "loadBalancers"),
		all("GetRelationalDatabaseBlueprints", "blueprints"),
		all("GetRelationalDatabaseBundles", "bundles"),
		all("GetRelationalDatabaseSnapshots", "relationalDatabaseSnapshots"),
		all("GetRelationalDatabases", "relationalDatabases"),

		some("GetBuckets", "buckets", bucket, "bucketName"),
		some("GetCertificates", "certificates", certificate, "certificateName"),
		some("GetContainerServices", "containerServices", container, "serviceName"),
		some("GetDistributionLatestCacheReset", "", distribution, "distributionName"),
		some("GetDistributions", "distributions", distribution, "distributionName"),

		one("GetBucketAccessKeys", bucket, "bucketName"),
		one("GetBucketMetricData", bucket, "bucketName"),
		one("GetContainerImages", container, "serviceName"),
		one("GetContainerLog", container, "serviceName"),
		one("GetContainerServiceDeployments", container, "serviceName"),
		one("GetContainerServiceMetricData", container, "serviceName"),
		one("GetDisk", "Disk", "diskName"),
		one("GetDiskSnapshot", "DiskSnapshot", "diskSnapshotName"),
		one("GetDistributionMetricData", distribution, "distributionName"),
		one("GetDomain", "Domain", "domainName"),
		one("GetInstanceSnapshot", "InstanceSnapshot", "instanceSnapshotName"),
		one("GetLoadBalancer", balancer, "loadBalancerName"),
		one("GetLoadBalancerMetricData", balancer, "loadBalancerName"),
		one("GetLoadBalancerTlsCertificates", balancer, "loadBalancerName"),
		one("GetRelationalDatabase", database, "relationalDatabaseName"),
		one("GetRelationalDatabaseEvents", database, "relationalDatabaseName"),
		one("GetRelationalDatabaseLogEvents", database, "relationalDatabaseName"),
		one("GetRelationalDatabaseLogStreams", database, "relationalDatabaseName"),
		one("GetRelationalDatabaseMasterUserPassword", database, "relationalDatabaseName"),
		one("GetRelationalDatabaseMetricData", database, "relationalDatabaseName"),
		one("GetRelationalDatabaseParameters", database, "relationalDatabaseName"),
		one("GetRelationalDatabaseSnapshot", "RelationalDatabaseSnapshot", "relationalDatabaseSnapshotName"),
	}
}

// action answers the operation: with nothing, or that what the request names does not exist.
func (u unheld) action() action {
	request := u.request()
	answer := map[string]any{}
	if u.list != "" {
		answer[u.list] = []wire.None{}
	}
	return action{target: targetLightsail + u.operation, run: func(_ *protocol, _ context.Context, body []byte) (any, error) {
		read := reflect.New(request)
		if err := awsjson.Decode(body, read.Interface()); err != nil {
			return nil, err
		}
		if err := awsjson.Check(read.Interface()); err != nil {
			return nil, err
		}
		if u.name != "" {
			if name := read.Elem().Field(0).String(); name != "" {
				return nil, openimds.Errorf(openimds.NotFound, openimds.DoesNotExist, "The %s %s does not exist", u.kind, fmt.Sprintf("%.300s", name))
			}
		}
		return answer, nil
	}}
}

// request is the structure of the operation's request, as far as it is looked at.
func (u unheld) request() reflect.Type {
	if u.name == "" {
		return reflect.TypeFor[struct{}]()
	}
	tag := fmt.Sprintf("json:%q", u.name)
	if u.needsName {
		tag += ` check:"required"`
	}
	return reflect.StructOf([]reflect.StructField{{Name: "Name", Type: reflect.TypeFor[string](), Tag: reflect.StructTag(tag)}})
}

// getAutoSnapshots has none, since add-ons are refused.
func (a *protocol) getAutoSnapshots(ctx context.Context, in *wire.GetAutoSnapshotsRequest) (wire.GetAutoSnapshotsResult, error) {
	found, err := a.service.Instance(ctx, in.ResourceName)
	if err != nil {
		return wire.GetAutoSnapshotsResult{}, err
	}
	return wire.GetAutoSnapshotsResult{ResourceName: found.Name, ResourceType: string(openimds.TypeInstance), AutoSnapshots: []wire.None{}}, nil
}

// getCostEstimate has none: Lightsail estimates what is for research, and no blueprint or bundle is.
func (a *protocol) getCostEstimate(ctx context.Context, in *wire.GetCostEstimateRequest) (wire.GetCostEstimateResult, error) {
	_, err := a.service.Instance(ctx, in.ResourceName)
	return wire.GetCostEstimateResult{Estimates: []wire.None{}}, err
}

// getSetupHistory has none, since SetupInstanceHttps is not built.
func (a *protocol) getSetupHistory(ctx context.Context, in *wire.GetSetupHistoryRequest) (wire.GetSetupHistoryResult, error) {
	_, err := a.service.Instance(ctx, in.ResourceName)
	return wire.GetSetupHistoryResult{SetupHistory: []wire.None{}}, err
}
