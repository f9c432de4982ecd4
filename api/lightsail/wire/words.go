package wire

import (
	"math"
	"regexp"

	"github.com/openimds/openimds"
)

// The constrained types of the API model, as requests use them. Names of resources have no type
// here: the model's pattern for them is narrower than what Lightsail accepts, and the service has
// the rule.

// AccessProtocol is how somebody gets into an instance.
type AccessProtocol string

// The protocols.
const (
	SSH AccessProtocol = "ssh"
	RDP AccessProtocol = "rdp"
)

// Values is [awsjson.Enumerated].
func (AccessProtocol) Values() []string { return []string{string(SSH), string(RDP)} }

// AddressType is which addresses an instance has.
type AddressType string

// Values is [awsjson.Enumerated].
func (AddressType) Values() []string {
	return []string{openimds.AddressDual, openimds.AddressIPv4, openimds.AddressIPv6}
}

// AlarmState is what an alarm has found.
type AlarmState string

// Values is [awsjson.Enumerated].
func (AlarmState) Values() []string { return []string{"OK", "ALARM", "INSUFFICIENT_DATA"} }

// AppCategory is what a blueprint or bundle is for.
type AppCategory string

// Values is [awsjson.Enumerated].
func (AppCategory) Values() []string { return []string{"LfR"} }

// ARN is the full name of a resource.
type ARN string

var arnForm = regexp.MustCompile(`^arn:(aws[^:]*):([a-zA-Z0-9-]+):([a-z0-9-]+):([0-9]+):([a-zA-Z]+)/([a-zA-Z0-9-]+)$`)

// Form is [awsjson.Formed].
func (ARN) Form() *regexp.Regexp { return arnForm }

// Comparison is how a value is held against an alarm's threshold.
type Comparison string

// Values is [awsjson.Enumerated].
func (Comparison) Values() []string {
	return []string{"GreaterThanOrEqualToThreshold", "GreaterThanThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold"}
}

// HTTPEndpoint says whether the metadata service answers.
type HTTPEndpoint string

// Values is [awsjson.Enumerated].
func (HTTPEndpoint) Values() []string { return []string{"disabled", "enabled"} }

// HTTPTokens says whether a token is asked for.
type HTTPTokens string

// Values is [awsjson.Enumerated].
func (HTTPTokens) Values() []string { return []string{"optional", "required"} }

// MissingData is what an alarm takes a period without values for.
type MissingData string

// Values is [awsjson.Enumerated].
func (MissingData) Values() []string {
	return []string{"breaching", "notBreaching", "ignore", "missing"}
}

// NetworkProtocol is what a port rule is for.
type NetworkProtocol string

// Values is [awsjson.Enumerated].
func (NetworkProtocol) Values() []string { return []string{"tcp", "all", "udp", "icmp", "icmpv6"} }

// Caseless is [awsjson.Caseless]: the AWS CLI's reference has protocol=TCP.
func (NetworkProtocol) Caseless() {}

// NonEmpty texts have more than white space.
type NonEmpty string

var nonEmptyForm = regexp.MustCompile(`.*\S.*`)

// Form is [awsjson.Formed].
func (NonEmpty) Form() *regexp.Regexp { return nonEmptyForm }

// Port is a port, or a type of ICMP, of which -1 stands for all.
type Port int

// Bounds is [awsjson.Bounded].
func (Port) Bounds() (least, most int) { return -1, 65535 }

// ResourceType is a kind of resource of Lightsail's.
type ResourceType string

// Values is [awsjson.Enumerated].
func (ResourceType) Values() []string {
	return []string{
		"ContainerService", "Instance", "StaticIp", "KeyPair", "InstanceSnapshot", "Domain", "PeeredVpc", "LoadBalancer",
		"LoadBalancerTlsCertificate", "Disk", "DiskSnapshot", "RelationalDatabase", "RelationalDatabaseSnapshot",
		"ExportSnapshotRecord", "CloudFormationStackRecord", "Alarm", "ContactMethod", "Distribution", "Certificate", "Bucket",
	}
}

// The words of metrics.

// InstanceMetricName is a metric of an instance.
type InstanceMetricName string

// Values is [awsjson.Enumerated].
func (InstanceMetricName) Values() []string {
	return []string{
		"CPUUtilization", "NetworkIn", "NetworkOut", "StatusCheckFailed", "StatusCheckFailed_Instance",
		"StatusCheckFailed_System", "BurstCapacityTime", "BurstCapacityPercentage", openimds.MetricNoToken,
		"DiskReadOps", "DiskWriteOps", "DiskReadBytes", "DiskWriteBytes", "DiskTotalReadTime", "DiskTotalWriteTime", "DiskQueueLength",
	}
}

// AlarmMetricName is the model's MetricName and, beyond it, MetadataNoToken and MetadataNoTokenRejected:
// whoever moves away from version 1 wants to be told of the last calls, and of those that fail from then on.
type AlarmMetricName string

// Values is [awsjson.Enumerated].
func (AlarmMetricName) Values() []string {
	return []string{
		"CPUUtilization", "NetworkIn", "NetworkOut", "StatusCheckFailed", "StatusCheckFailed_Instance",
		"StatusCheckFailed_System", "ClientTLSNegotiationErrorCount", "HealthyHostCount", "UnhealthyHostCount",
		"HTTPCode_LB_4XX_Count", "HTTPCode_LB_5XX_Count", "HTTPCode_Instance_2XX_Count", "HTTPCode_Instance_3XX_Count",
		"HTTPCode_Instance_4XX_Count", "HTTPCode_Instance_5XX_Count", "InstanceResponseTime", "RejectedConnectionCount",
		"RequestCount", "DatabaseConnections", "DiskQueueDepth", "FreeStorageSpace", "NetworkReceiveThroughput",
		"NetworkTransmitThroughput", "BurstCapacityTime", "BurstCapacityPercentage", openimds.MetricNoToken, openimds.MetricNoTokenRejected,
	}
}

// CountedMetricName is a metric that the guest side counts.
type CountedMetricName string

// Values is [awsjson.Enumerated].
func (CountedMetricName) Values() []string { return openimds.Metrics() }

// MetricPeriod is in seconds.
type MetricPeriod int

// bounds have no upper end, unlike the model's 86400: scripts that look back a month in one period
// work at AWS, and the number of points is limited anyway.
func (MetricPeriod) Bounds() (least, most int) { return 60, math.MaxInt32 }

// MetricStatistic is what is made of the samples of a period.
type MetricStatistic string

// Values is [awsjson.Enumerated].
func (MetricStatistic) Values() []string {
	return []string{"Minimum", "Maximum", "Sum", "Average", "SampleCount"}
}

// MetricUnit is what a metric is counted in.
type MetricUnit string

// Values is [awsjson.Enumerated].
func (MetricUnit) Values() []string {
	return []string{
		"Seconds", "Microseconds", "Milliseconds", "Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes",
		"Bits", "Kilobits", "Megabits", "Gigabits", "Terabits", "Percent", "Count",
		"Bytes/Second", "Kilobytes/Second", "Megabytes/Second", "Gigabytes/Second", "Terabytes/Second",
		"Bits/Second", "Kilobits/Second", "Megabits/Second", "Gigabits/Second", "Terabits/Second", "Count/Second", "None",
	}
}
