package lightsail

import (
	"math"
	"regexp"

	"github.com/openimds/openimds"
)

// The constrained types of the API model, as requests use them. Names of resources have no type
// here: the model's pattern for them is narrower than what Lightsail accepts, and the service has
// the rule.

type addressType string

func (addressType) values() []string {
	return []string{openimds.AddressDual, openimds.AddressIPv4, openimds.AddressIPv6}
}

type alarmState string

func (alarmState) values() []string { return []string{"OK", "ALARM", "INSUFFICIENT_DATA"} }

type appCategory string

func (appCategory) values() []string { return []string{"LfR"} }

type arn string

var arnForm = regexp.MustCompile(`^arn:(aws[^:]*):([a-zA-Z0-9-]+):([a-z0-9-]+):([0-9]+):([a-zA-Z]+)/([a-zA-Z0-9-]+)$`)

func (arn) form() *regexp.Regexp { return arnForm }

type comparison string

func (comparison) values() []string {
	return []string{"GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold"}
}

type httpEndpoint string

func (httpEndpoint) values() []string { return []string{"disabled", "enabled"} }

type httpTokens string

func (httpTokens) values() []string { return []string{"optional", "required"} }

type missingData string

func (missingData) values() []string {
	return []string{"breaching", "notBreaching", "ignore", "missing"}
}

type networkProtocol string

func (networkProtocol) values() []string { return []string{"tcp", "all", "udp", "icmp", "icmpv6"} }

type nonEmpty string

var nonEmptyForm = regexp.MustCompile(`.*\S.*`)

func (nonEmpty) form() *regexp.Regexp { return nonEmptyForm }

type port int

func (port) bounds() (least, most int) { return -1, 65535 }

type resourceType string

func (resourceType) values() []string {
	return []string{
		"ContainerService", "Instance", "StaticIp", "KeyPair", "InstanceSnapshot", "Domain", "PeeredVpc", "LoadBalancer",
		"LoadBalancerTlsCertificate", "Disk", "DiskSnapshot", "RelationalDatabase", "RelationalDatabaseSnapshot",
		"ExportSnapshotRecord", "CloudFormationStackRecord", "Alarm", "ContactMethod", "Distribution", "Certificate", "Bucket",
	}
}

// The words of metrics.

type instanceMetricName string

func (instanceMetricName) values() []string {
	return []string{
		"CPUUtilization", "NetworkIn", "NetworkOut", "StatusCheckFailed", "StatusCheckFailed_Instance",
		"StatusCheckFailed_System", "BurstCapacityTime", "BurstCapacityPercentage", openimds.MetricNoToken,
	}
}

// alarmMetricName is the model's MetricName and, beyond it, MetadataNoToken: whoever moves away from
// version 1 wants to be told of the last calls.
type alarmMetricName string

func (alarmMetricName) values() []string {
	return []string{
		"CPUUtilization", "NetworkIn", "NetworkOut", "StatusCheckFailed", "StatusCheckFailed_Instance",
		"StatusCheckFailed_System", "ClientTLSNegotiationErrorCount", "HealthyHostCount", "UnhealthyHostCount",
		"HTTPCode_LB_4XX_Count", "HTTPCode_LB_5XX_Count", "HTTPCode_Instance_2XX_Count", "HTTPCode_Instance_3XX_Count",
		"HTTPCode_Instance_4XX_Count", "HTTPCode_Instance_5XX_Count", "InstanceResponseTime", "RejectedConnectionCount",
		"RequestCount", "DatabaseConnections", "DiskQueueDepth", "FreeStorageSpace", "NetworkReceiveThroughput",
		"NetworkTransmitThroughput", "BurstCapacityTime", "BurstCapacityPercentage", openimds.MetricNoToken,
	}
}

// countedMetricName is a metric that the guest side counts.
type countedMetricName string

func (countedMetricName) values() []string { return openimds.Metrics() }

type metricPeriod int

// bounds have no upper end, unlike the model's 86400: scripts that look back a month in one period
// work at AWS, and the number of points is limited anyway.
func (metricPeriod) bounds() (least, most int) { return 60, math.MaxInt32 }

type metricStatistic string

func (metricStatistic) values() []string {
	return []string{"Minimum", "Maximum", "Sum", "Average", "SampleCount"}
}

type metricUnit string

func (metricUnit) values() []string {
	return []string{
		"Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes",
		"Bits", "Kilobits", "Megabits", "Gigabits", "Terabits", "Percent", "Count",
		"Bytes/Second", "Kilobytes/Second", "Megabytes/Second", "Gigabytes/Second", "Terabytes/Second",
		"Bits/Second", "Kilobits/Second", "Megabits/Second", "Gigabits/Second", "Terabits/Second", "Count/Second", "None",
	}
}
