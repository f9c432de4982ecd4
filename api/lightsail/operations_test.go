package lightsail_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/openimds/openimds/control"
)

// step is a request and what it is answered with: the JSON of an answer, or an exception with the
// beginning of its message.
type step struct {
	target, body string
	want         string // as differs takes it
	exception    string
	message      string
	code         string
}

func (s *server) steps(steps []step) {
	s.t.Helper()
	for _, st := range steps {
		a := s.call(st.target, st.body)
		if st.exception != "" {
			s.checkException(st, a)
			continue
		}
		var want any
		if err := json.Unmarshal([]byte(st.want), &want); err != nil {
			s.t.Fatalf("%s: the expectation is no JSON: %v", st.target, err)
		}
		if a.status != 200 {
			s.t.Errorf("%s %s: %d %s", st.target, st.body, a.status, a.body)
			continue
		}
		if d := differs(want, any(a.json(s.t)), st.target); d != "" {
			s.t.Errorf("%s\n in %s", d, a.body)
		}
	}
}

func (s *server) checkException(st step, a answer) {
	s.t.Helper()
	got := a.json(s.t)
	message, _ := got["message"].(string)
	if st.exception == "SerializationException" {
		message, _ = got["Message"].(string)
	}
	code, _ := got["code"].(string)
	status := 400
	if st.exception == "ServiceException" {
		status = 500
	}
	if got["__type"] != st.exception || a.header.Get("X-Amzn-Errortype") != st.exception || a.status != status || code != st.code || !strings.HasPrefix(message, st.message) {
		s.t.Errorf("%s %s: %d %s (header %s)\n want %s %q with the code %q", st.target, st.body, a.status, a.body, a.header.Get("X-Amzn-Errortype"), st.exception, st.message, st.code)
	}
}

const (
	invalid   = "InvalidInputException"
	notFound  = "NotFoundException"
	failure   = "OperationFailureException"
	malformed = "SerializationException"
)

func TestGetInstance(t *testing.T) {
	newServer(t).steps([]step{
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{
			"name":"demo","arn":"*","supportCode":"*","createdAt":"#","resourceType":"Instance","tags":[],
			"location":{"availabilityZone":"us-east-1a","regionName":"us-east-1"},
			"blueprintId":"ubuntu_24_04","blueprintName":"Ubuntu","bundleId":"nano_3_0","isStaticIp":false,
			"privateIpAddress":"*","publicIpAddress":"*","ipv6Addresses":["*"],"ipAddressType":"dualstack",
			"hardware":{"cpuCount":2,"ramSizeInGb":0.5,"disks":[{"createdAt":"#","sizeInGb":20,"isSystemDisk":true,"iops":100,
				"path":"/dev/sda1","attachedTo":"demo","attachmentState":"attached","name":"!","arn":"!"}]},
			"networking":{"monthlyTransfer":{"gbPerMonthAllocated":1024},"ports":[
				{"fromPort":80,"toPort":80,"protocol":"tcp","accessFrom":"Anywhere (0.0.0.0/0)","accessType":"public","commonName":"",
				 "accessDirection":"inbound","cidrs":["0.0.0.0/0"],"ipv6Cidrs":["::/0"],"cidrListAliases":[]},
				{"fromPort":22,"toPort":22}]},
			"state":{"code":16,"name":"running"},"username":"ubuntu","sshKeyName":"!",
			"metadataOptions":{"state":"applied","httpTokens":"optional","httpEndpoint":"enabled","httpPutResponseHopLimit":1,"httpProtocolIpv6":"disabled"}}}`},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"instanceStatus":"!","systemStatus":"!"}}`},
		{target: "GetInstance", body: `{"instanceName":"demo","includeHealthStatus":true}`, want: `{"instance":{"name":"demo",
			"instanceStatus":{"status":"ok","details":[{"name":"reachability","status":"passed","impairedSince":"!"}]},
			"systemStatus":{"status":"ok","details":[{"name":"reachability","status":"passed"}]}}}`},
		{target: "GetInstances", body: `{"includeHealthStatus":true}`, want: `{"instances":[{"systemStatus":{"status":"ok"}}]}`},
		{target: "GetInstances", body: `{"includeHealthStatus":false}`, want: `{"instances":[{"systemStatus":"!","instanceStatus":"!"}]}`},
		{target: "GetInstance", body: `{"instanceName":"absent"}`, exception: notFound, code: "DoesNotExist", message: "The Instance does not exist: absent"},
		{target: "GetInstance", body: `{"instanceName":"Demo"}`, exception: notFound, code: "DoesNotExist"},
		{target: "GetInstance", body: `{}`, exception: invalid, message: "1 validation error detected: Value null at 'instanceName' failed to satisfy constraint: Member must not be null"},
		{target: "GetInstance", body: `{"instanceName":null}`, exception: invalid, message: "1 validation error detected: Value null at 'instanceName'"},
		{target: "GetInstance", body: `{"instanceName":"x"}`, exception: invalid, message: "x is not a valid resource name. Resource names must be at least 2 characters long and contain only alphanumerics, -, _, and ."},
		{target: "GetInstance", body: `{"instanceName":"a/b"}`, exception: invalid, message: "a/b is not a valid resource name."},
		{target: "GetInstance", body: `{"instanceName":7}`, exception: malformed, message: "NUMBER_VALUE can not be converted to a String"},
		{target: "GetInstance", body: `{"instanceName":{}}`, exception: malformed, message: "Start of structure or map found where not expected."},
		{target: "GetInstance", body: `{"instanceName":["demo"]}`, exception: malformed, message: "Start of list found where not expected"},
		{target: "GetInstance", body: `{"InstanceName":"demo"}`, exception: malformed, message: "The member 'InstanceName' is spelled 'instanceName'"},
		{target: "GetInstance", body: `{"instanceName":"demo","instanceName":"absent"}`, exception: malformed, message: "The member 'instanceName' occurs twice"},
		{target: "GetInstances", body: `{}`, want: `{"instances":[{"name":"demo"}],"nextPageToken":"!"}`},
		{target: "GetInstances", body: `{"pageToken":"bad"}`, exception: invalid, message: "The page token is not one"},
		{target: "GetInstanceState", body: `{"instanceName":"demo"}`, want: `{"state":{"code":16,"name":"running"}}`},
		{target: "GetInstanceState", body: `{"instanceName":"absent"}`, exception: notFound, code: "DoesNotExist"},
	})
}

func TestLife(t *testing.T) {
	newServer(t).steps([]step{
		{target: "CreateInstances", body: `{"instanceNames":["web-1","web-2"],"availabilityZone":"us-east-1b","blueprintId":"ubuntu_24_04","bundleId":"small_3_0",
			"userData":"#!/bin/sh\n","tags":[{"key":"tier","value":"web"}],"customImageName":"ignored"}`,
			want: `{"operations":[{"id":"*","resourceName":"web-1","resourceType":"Instance","createdAt":"#","statusChangedAt":"#","isTerminal":true,
				"location":{"availabilityZone":"us-east-1b","regionName":"us-east-1"},"operationType":"CreateInstance","status":"Succeeded",
				"operationDetails":"!","errorCode":"!","errorDetails":"!"},{"resourceName":"web-2"}]}`},
		{target: "GetInstance", body: `{"instanceName":"web-2"}`, want: `{"instance":{"tags":[{"key":"tier","value":"web"}],"sshKeyName":"LightsailDefaultKeyPair","username":"ubuntu",
			"hardware":{"disks":[{"path":"/dev/sda1","sizeInGb":60,"iops":180}]}}}`},
		{target: "CreateInstances", body: `{"instanceNames":["new-1","web-2"],"availabilityZone":"us-east-1b","blueprintId":"ubuntu_24_04","bundleId":"small_3_0"}`,
			exception: invalid, code: "NameExists", message: "Some names are already in use: web-2"},
		{target: "GetInstance", body: `{"instanceName":"new-1"}`, exception: notFound, code: "DoesNotExist"},
		{target: "StopInstance", body: `{"instanceName":"web-1","force":true}`, want: `{"operations":[{"operationType":"StopInstance","status":"Succeeded"}]}`},
		{target: "GetInstance", body: `{"instanceName":"web-1"}`, want: `{"instance":{"state":{"code":80,"name":"stopped"},"publicIpAddress":"!"}}`},
		{target: "RebootInstance", body: `{"instanceName":"web-1"}`, exception: failure, message: "The instance web-1 cannot be rebooted"},
		{target: "GetInstance", body: `{"instanceName":"web-1","includeHealthStatus":true}`, want: `{"instance":{"instanceStatus":{"status":"not-applicable","details":[]},"systemStatus":{"status":"not-applicable","details":[]}}}`},
		{target: "StartInstance", body: `{"instanceName":"web-1","attributeUpdates":{"bundleId":"auto"}}`, exception: invalid, message: "The bundle small_3_0 has no later generation"},
		{target: "StartInstance", body: `{"instanceName":"web-1","attributeUpdates":{"bundleId":" "}}`, exception: invalid, message: "1 validation error detected: Value ' ' at 'attributeUpdates.bundleId' failed to satisfy constraint: Member must satisfy regular expression pattern"},
		{target: "StartInstance", body: `{"instanceName":"web-1","attributeUpdates":{"bundleId":"medium_3_0"}}`, exception: invalid, message: "The bundle medium_3_0 is neither a later generation of small_3_0 nor"},
		{target: "StartInstance", body: `{"instanceName":"web-1","attributeUpdates":{"bundleId":"small_9_0"}}`, exception: invalid, message: "The specified bundle does not exist in this region: small_9_0"},
		{target: "StartInstance", body: `{"instanceName":"web-1","attributeUpdates":{}}`, want: `{"operations":[{"operationType":"StartInstance"}]}`},
		{target: "RebootInstance", body: `{"instanceName":"web-1"}`, want: `{"operations":[{"operationType":"RebootInstance"}]}`},
		{target: "DeleteKnownHostKeys", body: `{"instanceName":"web-1"}`, want: `{"operations":[{"operationType":"DeleteKnownHostKeys","isTerminal":true}]}`},
		{target: "DeleteInstance", body: `{"instanceName":"web-1","forceDeleteAddOns":true}`, want: `{"operations":[{"operationType":"DeleteInstance"}]}`},
		{target: "GetInstanceState", body: `{"instanceName":"web-1"}`, exception: notFound, code: "DoesNotExist"},
		{target: "GetOperationsForResource", body: `{"resourceName":"web-1"}`, want: `{"operations":[{"operationType":"DeleteInstance"},{"operationType":"DeleteKnownHostKeys"},
			{"operationType":"RebootInstance"},{"operationType":"StartInstance"},{"operationType":"StopInstance"},{"operationType":"CreateInstance"}],"nextPageCount":"!"}`},
	})
}

func TestCreateInstancesRefuses(t *testing.T) {
	newServer(t).steps([]step{
		{target: "CreateInstances", body: `{}`, exception: invalid, message: "4 validation errors detected: Value null at 'instanceNames'"},
		{target: "CreateInstances", body: `{"instanceNames":["aa"],"availabilityZone":"","blueprintId":"debian_12","bundleId":"nano_3_0"}`, exception: invalid, message: "1 validation error detected: Value null at 'availabilityZone'"},
		{target: "CreateInstances", body: `{"instanceNames":["aa"],"availabilityZone":"us-east-1a"}`, exception: invalid, message: "2 validation errors detected: Value null at 'blueprintId'"},
		{target: "OpenIMDS_20261122.LaunchInstances", body: `{}`, exception: invalid, message: "1 validation error detected: Value null at 'instanceNames'"},
		{target: "OpenIMDS_20261122.LaunchInstances", body: `{"instanceNames":["aa"],"bundleId":"nano_3_9"}`, exception: invalid, message: "The specified bundle does not exist in this region: nano_3_9"},
		{target: "OpenIMDS_20261122.LaunchInstances", body: `{"instanceNames":["aa"],"addOns":[{}]}`, exception: invalid},
		{target: "CreateInstances", body: `{"instanceNames":[],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0"}`, exception: invalid, message: "A call creates 1 to 20 instances, not 0"},
		{target: "CreateInstances", body: `{"instanceNames":["aa","aa"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0"}`, exception: invalid, code: "NameExists", message: "Some names are already in use: aa"},
		{target: "CreateInstances", body: `{"instanceNames":["aa"],"availabilityZone":"eu-west-1a","blueprintId":"debian_12","bundleId":"nano_3_0"}`, exception: invalid, message: "The availability zone eu-west-1a is not in the region us-east-1"},
		{target: "CreateInstances", body: `{"instanceNames":["aa"],"availabilityZone":"us-east-1a","blueprintId":"beos","bundleId":"nano_3_0"}`, exception: invalid, message: "The specified blueprint does not exist in this region: beos"},
		{target: "CreateInstances", body: `{"instanceNames":["aa"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_1_0"}`, exception: invalid, message: "The specified bundle does not exist in this region: nano_1_0"},
		{target: "CreateInstances", body: `{"instanceNames":["aa"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":" "}`, exception: invalid, message: "1 validation error detected: Value ' ' at 'bundleId' failed to satisfy constraint: Member must satisfy regular expression pattern: .*\\S.*"},
		{target: "CreateInstances", body: `{"instanceNames":["aa"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0","ipAddressType":"ipv5"}`, exception: invalid, message: "1 validation error detected: Value 'ipv5' at 'ipAddressType' failed to satisfy constraint: Member must satisfy enum value set: [dualstack, ipv4, ipv6]"},
		{target: "CreateInstances", body: `{"instanceNames":["aa"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0","addOns":[{"addOnType":"AutoSnapshot"}]}`, exception: invalid, message: "1 validation error detected: Value given at 'addOns'"},
		{target: "CreateInstances", body: `{"instanceNames":["aa"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0","addOns":[],"keyPairName":"absent"}`, exception: notFound, code: "DoesNotExist", message: "The KeyPair does not exist: absent"},
		{target: "CreateInstances", body: `{"instanceNames":["aa"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0","userData":"` + strings.Repeat("x", 16<<10+1) + `"}`, exception: invalid, message: "User data is limited to 16384 bytes, not 16385"},
		{target: "CreateInstances", body: `{"instanceNames":"aa"}`, exception: malformed, message: "Expected list or null"},
		{target: "CreateInstances", body: `{"tags":["a"]}`, exception: malformed, message: "Expected structure or null"},
	})
}

func TestOptionsOfRunning(t *testing.T) {
	newServer(t).steps([]step{
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpTokens":"required","httpPutResponseHopLimit":2}`,
			want: `{"operation":{"resourceName":"demo","operationType":"UpdateInstanceMetadataOptions","status":"Started","isTerminal":false},"operations":"!"}`},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"metadataOptions":{"state":"pending","httpTokens":"required","httpEndpoint":"enabled","httpPutResponseHopLimit":2,"httpProtocolIpv6":"disabled"}}}`},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpEndpoint":"disabled","httpTokens":null}`, want: `{"operation":{}}`},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo"}`, want: `{"operation":{}}`},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpPutResponseHopLimit":64.0,"httpProtocolIpv6":"enabled"}`, want: `{"operation":{}}`},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"metadataOptions":{"httpTokens":"required","httpEndpoint":"disabled","httpPutResponseHopLimit":64,"httpProtocolIpv6":"enabled"}}}`},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpTokens":"no"}`, exception: invalid, message: "1 validation error detected: Value 'no' at 'httpTokens' failed to satisfy constraint: Member must satisfy enum value set: [optional, required]"},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpTokens":""}`, exception: invalid, message: "1 validation error detected: Value '' at 'httpTokens'"},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpTokens":"Optional","httpEndpoint":"on"}`, exception: invalid, message: "2 validation errors detected: "},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpPutResponseHopLimit":0}`, exception: invalid, message: "httpPutResponseHopLimit must be 1 to 64, not 0"},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpPutResponseHopLimit":65}`, exception: invalid},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpPutResponseHopLimit":-1}`, exception: invalid},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpPutResponseHopLimit":1.5}`, exception: malformed, message: "DECIMAL_VALUE can not be converted to an Integer"},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpPutResponseHopLimit":4294967297}`, exception: malformed, message: "NUMBER_VALUE can not be converted to an Integer"},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpPutResponseHopLimit":"2"}`, exception: malformed, message: "STRING_VALUE can not be converted to an Integer"},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpPutResponseHopLimit":true}`, exception: malformed, message: "TRUE_VALUE can not be converted to an Integer"},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","HttpTokens":"optional"}`, exception: malformed, message: "The member 'HttpTokens' is spelled 'httpTokens'"},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"absent","httpTokens":"required"}`, exception: notFound, code: "DoesNotExist"},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"metadataOptions":{"httpTokens":"required","httpEndpoint":"disabled","httpPutResponseHopLimit":64,"httpProtocolIpv6":"enabled"}}}`},
	})
}

func TestOptionsOfStopped(t *testing.T) {
	newServer(t).steps([]step{
		{target: "StopInstance", body: `{"instanceName":"demo"}`, want: `{"operations":[{}]}`},
		{target: "UpdateInstanceMetadataOptions", body: `{"instanceName":"demo","httpTokens":"required"}`, want: `{"operation":{"status":"Succeeded","isTerminal":true}}`},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"metadataOptions":{"state":"applied","httpTokens":"required"}}}`},
	})
}

func TestGetOperations(t *testing.T) {
	newServer(t).steps([]step{
		{target: "GetOperations", body: `{}`, want: `{"operations":[{"operationType":"CreateInstance","resourceName":"demo"}],"nextPageToken":"!"}`},
		{target: "GetOperation", body: `{"operationId":"absent"}`, exception: notFound, code: "DoesNotExist", message: "The Operation does not exist: absent"},
		{target: "GetOperation", body: `{"operationId":"\t"}`, exception: invalid, message: "1 validation error detected"},
		{target: "GetOperation", body: `{}`, exception: invalid},
		{target: "GetOperationsForResource", body: `{"resourceName":"never-was"}`, want: `{"operations":[],"nextPageToken":"!"}`},
		{target: "GetOperationsForResource", body: `{"resourceName":"demo","pageToken":"x"}`, exception: invalid},
	})
}

func TestStaticIPs(t *testing.T) {
	newServer(t).steps([]step{
		{target: "AllocateStaticIp", body: `{"staticIpName":"front"}`, want: `{"operations":[{"resourceType":"StaticIp","location":{"availabilityZone":"all"}}]}`},
		{target: "GetStaticIp", body: `{"staticIpName":"front"}`, want: `{"staticIp":{"name":"front","arn":"*","supportCode":"*","createdAt":"#","resourceType":"StaticIp","ipAddress":"*","isAttached":false,"attachedTo":"!",
			"location":{"availabilityZone":"all","regionName":"us-east-1"}}}`},
		{target: "AttachStaticIp", body: `{"staticIpName":"front","instanceName":"demo"}`, want: `{"operations":[{"resourceName":"front","operationDetails":"demo"},{"resourceName":"demo","operationDetails":"front"}]}`},
		{target: "GetStaticIps", body: `{}`, want: `{"staticIps":[{"name":"front","isAttached":true,"attachedTo":"demo"}]}`},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"isStaticIp":true}}`},
		{target: "DetachStaticIp", body: `{"staticIpName":"front"}`, want: `{"operations":[{},{}]}`},
		{target: "DetachStaticIp", body: `{"staticIpName":"front"}`, exception: failure},
		{target: "AllocateStaticIp", body: `{"staticIpName":"demo"}`, exception: invalid, code: "NameExists"},
		{target: "ReleaseStaticIp", body: `{"staticIpName":"front"}`, want: `{"operations":[{}]}`},
		{target: "GetStaticIp", body: `{"staticIpName":"front"}`, exception: notFound, code: "DoesNotExist", message: "The StaticIp does not exist: front"},
		{target: "GetStaticIps", body: `{}`, want: `{"staticIps":[]}`},
	})
}

func TestKeyPairs(t *testing.T) {
	newServer(t).steps([]step{
		{target: "CreateKeyPair", body: `{"keyPairName":"mine","tags":[{"key":"a","value":"b"}]}`, want: `{"keyPair":{"name":"mine","arn":"*","supportCode":"*","createdAt":"#","resourceType":"KeyPair","fingerprint":"*","tags":[{"key":"a","value":"b"}]},
			"publicKeyBase64":"*","privateKeyBase64":"*","operation":{"operationType":"CreateKeyPair"}}`},
		{target: "GetKeyPair", body: `{"keyPairName":"mine"}`, want: `{"keyPair":{"name":"mine"},"privateKeyBase64":"!"}`},
		{target: "GetKeyPairs", body: `{}`, want: `{"keyPairs":[{"name":"mine"}]}`},
		{target: "CreateKeyPair", body: `{"keyPairName":"mine"}`, exception: invalid, code: "NameExists"},
		{target: "ImportKeyPair", body: `{"keyPairName":"other","publicKeyBase64":"nonsense"}`, exception: invalid},
		{target: "ImportKeyPair", body: `{"keyPairName":"other","publicKeyBase64":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ+1P0dyDrHSlHxPCsQWKjCqXgcUJ8HOQ1wLvS0B3c6p me@here\n"}`, want: `{"operation":{"operationType":"ImportKeyPair"}}`},
		{target: "DeleteKeyPair", body: `{"keyPairName":"other","expectedFingerprint":"wrong"}`, exception: invalid},
		{target: "DeleteKeyPair", body: `{"keyPairName":"other"}`, want: `{"operation":{"operationType":"DeleteKeyPair"}}`},
		{target: "GetKeyPair", body: `{"keyPairName":"other"}`, exception: notFound, code: "DoesNotExist"},
		{target: "DownloadDefaultKeyPair", body: `{}`, want: `{"publicKeyBase64":"*","privateKeyBase64":"*","createdAt":"#"}`},
		{target: "GetKeyPairs", body: `{}`, want: `{"keyPairs":[{"name":"mine"}]}`},
		{target: "GetKeyPairs", body: `{"includeDefaultKeyPair":true}`, want: `{"keyPairs":[{"name":"LightsailDefaultKeyPair"},{"name":"mine"}]}`},
	})
}

func TestAlarms(t *testing.T) {
	newServer(t).steps([]step{
		{target: "PutAlarm", body: `{"alarmName":"v1","metricName":"MetadataNoToken","monitoredResourceName":"demo","comparisonOperator":"GreaterThanThreshold","threshold":0,"evaluationPeriods":1}`, want: `{"operations":[{"operationType":"PutAlarm","resourceType":"Alarm"}]}`},
		{target: "GetAlarms", body: `{}`, want: `{"alarms":[{"name":"v1","arn":"*","createdAt":"#","resourceType":"Alarm","monitoredResourceInfo":{"arn":"*","name":"demo","resourceType":"Instance"},
			"comparisonOperator":"GreaterThanThreshold","evaluationPeriods":1,"period":300,"threshold":0,"datapointsToAlarm":1,"treatMissingData":"missing","statistic":"Sum",
			"metricName":"MetadataNoToken","state":"INSUFFICIENT_DATA","unit":"Count","contactProtocols":[],"notificationTriggers":["ALARM"],"notificationEnabled":true,"tags":[]}],"nextPageToken":"!"}`},
		{target: "TestAlarm", body: `{"alarmName":"v1","state":"ALARM"}`, want: `{"operations":[{"operationType":"TestAlarm"}]}`},
		{target: "GetAlarms", body: `{"alarmName":"v1"}`, want: `{"alarms":[{"state":"ALARM"}]}`},
		{target: "GetAlarms", body: `{"monitoredResourceName":"other"}`, want: `{"alarms":[]}`},
		{target: "GetAlarms", body: `{"alarmName":"absent"}`, exception: notFound, code: "DoesNotExist"},
		{target: "TestAlarm", body: `{"alarmName":"v1","state":"FINE"}`, exception: invalid, message: "1 validation error detected: Value 'FINE' at 'state'"},
		{target: "PutAlarm", body: `{"alarmName":"broken","metricName":"MetadataNoTokenRejected","monitoredResourceName":"demo","comparisonOperator":"GreaterThanThreshold","threshold":0,"evaluationPeriods":1}`, want: `{"operations":[{"operationType":"PutAlarm","resourceType":"Alarm"}]}`},
		{target: "GetAlarms", body: `{"alarmName":"broken"}`, want: `{"alarms":[{"metricName":"MetadataNoTokenRejected","unit":"Count","statistic":"Sum"}]}`},
		{target: "DeleteAlarm", body: `{"alarmName":"broken"}`, want: `{"operations":[{"operationType":"DeleteAlarm"}]}`},
		{target: "PutAlarm", body: `{"alarmName":"v1","metricName":"MetadataNoToken","monitoredResourceName":"demo","comparisonOperator":"GreaterThanThreshold","evaluationPeriods":1}`, exception: invalid, message: "1 validation error detected: Value null at 'threshold'"},
		{target: "PutAlarm", body: `{"alarmName":"v1","metricName":"RequestCount","monitoredResourceName":"demo","comparisonOperator":"GreaterThanThreshold","threshold":1e0,"evaluationPeriods":1}`, exception: invalid, message: "The metric RequestCount"},
		{target: "PutAlarm", body: `{"alarmName":"v1","metricName":"StatusCheckFailed","monitoredResourceName":"demo","comparisonOperator":"GreaterThanThreshold","threshold":1,"evaluationPeriods":2,"datapointsToAlarm":0}`, exception: invalid, message: "datapointsToAlarm must be"},
		{target: "PutAlarm", body: `{"alarmName":"v1","metricName":"StatusCheckFailed","monitoredResourceName":"demo","comparisonOperator":"GreaterThanThreshold","threshold":1e400,"evaluationPeriods":2}`, exception: malformed, message: "DECIMAL_VALUE can not be converted to a Double"},
		{target: "PutAlarm", body: `{"alarmName":"v1","metricName":"StatusCheckFailed","monitoredResourceName":"demo","comparisonOperator":"GreaterThanThreshold","threshold":1,"evaluationPeriods":2,"contactProtocols":["Email"]}`, exception: invalid, message: "1 validation error detected: Value given at 'contactProtocols'"},
		{target: "PutAlarm", body: `{"alarmName":"v1","metricName":"StatusCheckFailed","monitoredResourceName":"demo","comparisonOperator":"GreaterThanThreshold","threshold":1,"evaluationPeriods":2,"notificationTriggers":["ALARM","SOON"]}`, exception: invalid, message: "1 validation error detected: Value 'SOON' at 'notificationTriggers.2.member'"},
		{target: "DeleteAlarm", body: `{"alarmName":"v1"}`, want: `{"operations":[{"operationType":"DeleteAlarm"}]}`},
		{target: "DeleteAlarm", body: `{"alarmName":"v1"}`, exception: notFound, code: "DoesNotExist"},
	})
}

func TestTags(t *testing.T) {
	newServer(t).steps([]step{
		{target: "TagResource", body: `{"resourceName":"demo","tags":[{"key":"a","value":"1"},{"key":"b"}]}`, want: `{"operations":[{"operationType":"TagResource"}]}`},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"tags":[{"key":"a","value":"1"},{"key":"b","value":"!"}]}}`},
		{target: "UntagResource", body: `{"resourceName":"demo","tagKeys":["b","never"]}`, want: `{"operations":[{"operationType":"UntagResource"}]}`},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"tags":[{"key":"a","value":"1"}]}}`},
		{target: "TagResource", body: `{"resourceName":"demo","resourceArn":"arn:aws:lightsail:us-east-1:123456789012:Instance/0","tags":[]}`, exception: invalid, message: "The resource demo does not have the ARN"},
		{target: "TagResource", body: `{"resourceName":"demo","resourceArn":"demo","tags":[]}`, exception: invalid, message: "1 validation error detected: Value 'demo' at 'resourceArn'"},
		{target: "TagResource", body: `{"resourceName":"absent","tags":[]}`, exception: notFound, code: "DoesNotExist"},
		{target: "TagResource", body: `{"resourceName":"demo","tags":[{"key":"","value":"x"}]}`, exception: invalid},
		{target: "GetActiveNames", body: `{}`, want: `{"activeNames":["demo"],"nextPageToken":"!"}`},
	})
}

func TestPorts(t *testing.T) {
	newServer(t).steps([]step{
		{target: "PutInstancePublicPorts", body: `{"instanceName":"demo","portInfos":[{"fromPort":443,"toPort":443,"protocol":"tcp","cidrs":["10.0.0.0/8"]}]}`, want: `{"operation":{"operationType":"PutInstancePublicPorts"}}`},
		{target: "GetInstancePortStates", body: `{"instanceName":"demo"}`, want: `{"portStates":[{"fromPort":443,"toPort":443,"protocol":"tcp","state":"open","cidrs":["10.0.0.0/8"],"ipv6Cidrs":[],"cidrListAliases":[]}]}`},
		{target: "OpenInstancePublicPorts", body: `{"instanceName":"demo","portInfo":{"fromPort":53,"toPort":53,"protocol":"udp"}}`, want: `{"operation":{"operationType":"OpenInstancePublicPorts","status":"Succeeded"}}`},
		{target: "GetInstancePortStates", body: `{"instanceName":"demo"}`, want: `{"portStates":[{"fromPort":443},{"fromPort":53,"protocol":"udp","state":"open","cidrs":["0.0.0.0/0"],"ipv6Cidrs":["::/0"]}]}`},
		{target: "CloseInstancePublicPorts", body: `{"instanceName":"demo","portInfo":{"fromPort":53,"toPort":53,"protocol":"udp"}}`, want: `{"operation":{"operationType":"CloseInstancePublicPorts"}}`},
		{target: "GetInstancePortStates", body: `{"instanceName":"demo"}`, want: `{"portStates":[{"fromPort":443}]}`},
		{target: "CloseInstancePublicPorts", body: `{"instanceName":"demo"}`, exception: invalid, message: "1 validation error detected: Value null at 'portInfo'"},
		{target: "OpenInstancePublicPorts", body: `{"instanceName":"demo","portInfo":{"fromPort":2222,"toPort":2222,"protocol":"TCP"}}`, want: `{"operation":{"operationType":"OpenInstancePublicPorts","operationDetails":"2222/tcp","status":"Succeeded"}}`},
		{target: "CloseInstancePublicPorts", body: `{"instanceName":"demo","portInfo":{"fromPort":2222,"toPort":2222,"protocol":"TCP"}}`, want: `{"operation":{"operationType":"CloseInstancePublicPorts","operationDetails":"2222/tcp","status":"Succeeded"}}`},
		{target: "OpenInstancePublicPorts", body: `{"instanceName":"absent","portInfo":{"fromPort":53,"toPort":53,"protocol":"udp"}}`, exception: notFound, code: "DoesNotExist"},
		{target: "PutInstancePublicPorts", body: `{"instanceName":"demo","portInfos":[{"fromPort":-2,"toPort":65536,"protocol":"sctp"}]}`, exception: invalid, message: "3 validation errors detected: Value '-2' at 'portInfos.1.member.fromPort' failed to satisfy constraint: Member must have value greater than or equal to -1; "},
		{target: "PutInstancePublicPorts", body: `{"instanceName":"demo","portInfos":[{"fromPort":22,"toPort":22,"protocol":"tcp","cidrListAliases":["lightsail-connect"]}]}`, exception: invalid},
		{target: "PutInstancePublicPorts", body: `{"instanceName":"demo"}`, exception: invalid},
		{target: "PutInstancePublicPorts", body: `{"instanceName":"demo","portInfos":[{"fromPort":22,"toPort":22,"protocol":"tcp","cidrs":["192.168.0.0/16"]},{"fromPort":22,"toPort":22,"protocol":"tcp","cidrs":["10.0.0.0/8"]},{"protocol":"all","cidrs":["192.0.2.1"]}]}`, want: `{}`},
		{target: "GetInstancePortStates", body: `{"instanceName":"demo"}`, want: `{"portStates":[{"fromPort":22,"toPort":22,"cidrs":["192.168.0.0/16","10.0.0.0/8"]},{"fromPort":0,"toPort":65535,"protocol":"all","cidrs":["192.0.2.1/32"]}]}`},
		{target: "CloseInstancePublicPorts", body: `{"instanceName":"demo","portInfo":{"fromPort":22,"toPort":22,"protocol":"tcp"}}`, want: `{}`},
		{target: "CloseInstancePublicPorts", body: `{"instanceName":"demo","portInfo":{"protocol":"all","cidrs":["192.0.2.1/32"]}}`, want: `{}`},
		{target: "GetInstancePortStates", body: `{"instanceName":"demo"}`, want: `{"portStates":[]}`},
		{target: "GetInstancePortStates", body: `{"instanceName":"absent"}`, exception: notFound, code: "DoesNotExist"},
	})
}

func TestAddressTypes(t *testing.T) {
	newServer(t).steps([]step{
		{target: "SetIpAddressType", body: `{"resourceType":"Instance","resourceName":"demo","ipAddressType":"ipv4"}`, want: `{"operations":[{"operationType":"SetIpAddressType"}]}`},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"ipv6Addresses":[],"ipAddressType":"ipv4"}}`},
		{target: "SetIpAddressType", body: `{"resourceType":"Instance","resourceName":"demo","ipAddressType":"ipv6"}`, exception: invalid},
		{target: "SetIpAddressType", body: `{"resourceType":"Instance","resourceName":"demo","ipAddressType":"ipv6","acceptBundleUpdate":true}`, want: `{"operations":[{}]}`},
		{target: "GetInstance", body: `{"instanceName":"demo"}`, want: `{"instance":{"bundleId":"nano_ipv6_3_0","privateIpAddress":"!","publicIpAddress":"!"}}`},
		{target: "SetIpAddressType", body: `{"resourceType":"LoadBalancer","resourceName":"demo","ipAddressType":"ipv4"}`, exception: invalid, message: "Only an Instance"},
		{target: "SetIpAddressType", body: `{"resourceType":"Toaster","resourceName":"demo","ipAddressType":"ipv4"}`, exception: invalid, message: "1 validation error detected: Value 'Toaster' at 'resourceType'"},
	})
}

func TestCatalogue(t *testing.T) {
	newServer(t).steps([]step{
		{target: "GetRegions", body: `{"includeAvailabilityZones":false}`, want: `{"regions":[{"availabilityZones":[],"relationalDatabaseAvailabilityZones":[],"continentCode":"NA","displayName":"Virginia","description":"*","name":"us-east-1"}]}`},
		{target: "GetProfile", body: `{}`, want: `{"profileType":"Lightsailor","partner":"!"}`},
		{target: "GetBlueprints", body: `{"appCategory":"LfR"}`, want: `{"blueprints":[]}`},
		{target: "GetBundles", body: `{"appCategory":"LfR"}`, want: `{"bundles":[]}`},
		{target: "GetBundles", body: `{"appCategory":"games"}`, exception: invalid},
		{target: "GetBlueprints", body: `{"pageToken":"AAAA"}`, exception: invalid},
		{target: "IsVpcPeered", body: `{}`, want: `{"isPeered":false}`},
	})
}

func TestNotBuilt(t *testing.T) {
	newServer(t).steps([]step{
		{target: "CreateDisk", body: `{"diskName":"x"}`, exception: invalid, message: "The operation CreateDisk is not built in openimds"},
		{target: "EnableAddOn", body: `{}`, exception: invalid},
		{target: "DisableAddOn", body: `{}`, exception: invalid},
		{target: "DeleteDisk", body: `{"diskName":"data"}`, exception: invalid},
		{target: "CreateBucket", body: `{"bucketName":"x"}`, exception: invalid, message: "The operation CreateBucket is not built in openimds"},
	})
}

func TestNothingOfAKind(t *testing.T) {
	const web, absent = `{"resourceName":"demo"}`, `{"resourceName":"absent"}`
	newServer(t).steps([]step{
		{target: "GetDisks", body: `{}`, want: `{"disks":[],"nextPageToken":"!"}`},
		{target: "GetDisk", body: `{"diskName":"data"}`, exception: notFound, code: "DoesNotExist", message: "The Disk does not exist: data"},
		{target: "GetDisk", body: `{}`, exception: invalid, message: "1 validation error detected: Value null at 'diskName' failed to satisfy constraint: Member must not be null"},
		{target: "GetDisk", body: `{"diskName":1}`, exception: malformed},
		{target: "GetBuckets", body: `{"includeConnectedResources":true}`, want: `{"buckets":[]}`},
		{target: "GetBuckets", body: `{"bucketName":"logs"}`, exception: notFound, code: "DoesNotExist", message: "The Bucket does not exist: logs"},
		{target: "GetContactMethods", body: `{"protocols":["Email"]}`, want: `{"contactMethods":[]}`},
		{target: "GetRelationalDatabaseEvents", body: `{"relationalDatabaseName":"db"}`, exception: notFound, code: "DoesNotExist", message: "The RelationalDatabase does not exist: db"},
		{target: "GetAutoSnapshots", body: web, want: `{"resourceName":"demo","resourceType":"Instance","autoSnapshots":[]}`},
		{target: "GetAutoSnapshots", body: absent, exception: notFound, code: "DoesNotExist"},
		{target: "GetSetupHistory", body: web, want: `{"setupHistory":[],"nextPageToken":"!"}`},
		{target: "GetSetupHistory", body: absent, exception: notFound, code: "DoesNotExist"},
		{target: "GetCostEstimate", body: `{"resourceName":"demo","startTime":1760000000,"endTime":1770000000}`, want: `{"resourcesBudgetEstimate":[]}`},
		{target: "GetCostEstimate", body: `{"resourceName":"absent","startTime":1760000000,"endTime":1770000000}`, exception: notFound, code: "DoesNotExist"},
		{target: "GetCostEstimate", body: web, exception: invalid, message: "2 validation errors detected: Value null at 'startTime'"},
	})
}

func TestAccessDetails(t *testing.T) {
	s := newServer(t)
	s.must("CreateKeyPair", `{"keyPairName":"mine"}`)
	create := func(name, more string) {
		s.must("CreateInstances", `{"instanceNames":["`+name+`"],"availabilityZone":"us-east-1a","blueprintId":`+more+`}`)
	}
	create("web", `"debian_12","bundleId":"nano_3_0"`)
	create("other", `"debian_12","bundleId":"nano_3_0","keyPairName":"mine"`)
	create("win", `"windows_server_2022","bundleId":"nano_win_3_0"`)
	private, _ := json.Marshal(s.must("DownloadDefaultKeyPair", `{}`)["privateKeyBase64"])
	s.steps([]step{
		{target: "GetInstanceAccessDetails", body: `{"instanceName":"web"}`, want: `{"accessDetails":{"instanceName":"web","protocol":"ssh","username":"admin","ipAddress":"*","ipv6Addresses":["*"],
			"hostKeys":[],"privateKey":` + string(private) + `,"certKey":"!","expiresAt":"!","password":"!"}}`},
		{target: "GetInstanceAccessDetails", body: `{"instanceName":"other","protocol":"ssh"}`, want: `{"accessDetails":{"username":"admin","privateKey":"!"}}`},
		{target: "GetInstanceAccessDetails", body: `{"instanceName":"win"}`, exception: failure, message: "The password of win is its guest's own affair"},
		{target: "GetInstanceAccessDetails", body: `{"instanceName":"web","protocol":"rdp"}`, exception: failure},
		{target: "GetInstanceAccessDetails", body: `{"instanceName":"web","protocol":"telnet"}`, exception: invalid},
		{target: "GetInstanceAccessDetails", body: `{"instanceName":"absent"}`, exception: notFound, code: "DoesNotExist"},
	})
	fingerprint, _ := json.Marshal(s.must("GetKeyPair", `{"keyPairName":"LightsailDefaultKeyPair"}`)["keyPair"].(map[string]any)["fingerprint"])
	s.must("DeleteKeyPair", `{"keyPairName":"LightsailDefaultKeyPair","expectedFingerprint":`+string(fingerprint)+`}`)
	without := step{target: "GetInstanceAccessDetails", body: `{"instanceName":"web"}`, want: `{"accessDetails":{"username":"admin","privateKey":"!"}}`}
	s.steps([]step{without})
	s.must("DownloadDefaultKeyPair", `{}`) // makes another one
	s.steps([]step{without})
}

// TestOwnRegion: the region of the installation is the only one, whether Lightsail has it or not.
func TestOwnRegion(t *testing.T) {
	for region, want := range map[string]string{
		"ap-southeast-5": `{"name":"ap-southeast-5","displayName":"Malaysia","continentCode":"AP","description":"*","relationalDatabaseAvailabilityZones":[],
			"availabilityZones":[{"zoneName":"ap-southeast-5a","state":"available"},{"zoneName":"ap-southeast-5b"},{"zoneName":"ap-southeast-5c"}]}`,
		"eu-home-1": `{"name":"eu-home-1","displayName":"eu-home-1","continentCode":"EU","description":"This region is recommended to serve users in this installation",
			"availabilityZones":[{"zoneName":"eu-home-1a"},{},{}]}`,
	} {
		s := newServer(t, func(c *control.Config) { c.Region = region })
		s.steps([]step{{target: "GetRegions", body: `{"includeAvailabilityZones":true}`, want: `{"regions":[` + want + `]}`}})
	}
}

// TestCatalogueItems looks at what the steps above are too long for.
func TestCatalogueItems(t *testing.T) {
	s := newServer(t)
	bundles, _ := s.must("GetBundles", `{}`)["bundles"].([]any)
	all, _ := s.must("GetBundles", `{"includeInactive":true}`)["bundles"].([]any)
	if len(bundles) == 0 || len(all) <= len(bundles) {
		t.Errorf("%d active bundles, %d in all", len(bundles), len(all))
	}
	var want any
	_ = json.Unmarshal([]byte(`{"price":5,"cpuCount":2,"diskSizeInGb":20,"bundleId":"nano_3_0","instanceType":"nano","isActive":true,"name":"Nano","power":298,
		"ramSizeInGb":0.5,"transferPerMonthInGb":1024,"supportedPlatforms":["LINUX_UNIX"],"publicIpv4AddressCount":1}`), &want)
	if d := differs(want, bundles[0], "bundle"); d != "" {
		t.Error(d)
	}
	if a := s.call("GetBundles", `{}`); !strings.Contains(a.body, `"price":5.0,`) || !strings.Contains(a.body, `"ramSizeInGb":0.5,`) {
		t.Errorf("floats have no fraction: %.200s", a.body)
	}
	blueprints, _ := s.must("GetBlueprints", `{}`)["blueprints"].([]any)
	_ = json.Unmarshal([]byte(`{"blueprintId":"amazon_linux_2023","name":"Amazon Linux 2023","group":"amazon_linux_2023","type":"os","isActive":true,"minPower":0,
		"version":"2023","versionCode":"1","productUrl":"*","platform":"LINUX_UNIX"}`), &want)
	if d := differs(want, blueprints[0], "blueprint"); d != "" {
		t.Error(d)
	}
	zones := s.must("GetRegions", `{"includeAvailabilityZones":true,"includeRelationalDatabaseAvailabilityZones":true}`)
	_ = json.Unmarshal([]byte(`{"zoneName":"us-east-1a","state":"available"}`), &want)
	first := zones["regions"].([]any)[0].(map[string]any)
	if d := differs(want, first["availabilityZones"].([]any)[0], "zone"); d != "" {
		t.Error(d)
	}
}

// TestOperationIsFound asks for each operation that a change has returned.
func TestOperationIsFound(t *testing.T) {
	s := newServer(t)
	made := s.must("UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpTokens":"required"}`)["operation"].(map[string]any)
	id := made["id"].(string)
	found := s.must("GetOperation", `{"operationId":"`+id+`"}`)["operation"].(map[string]any)
	if found["status"] != "Started" || found["id"] != id {
		t.Errorf("%v", found)
	}
	in, err := s.service.Instance(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.service.MarkApplied(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	found = s.must("GetOperation", `{"operationId":"`+id+`"}`)["operation"].(map[string]any)
	if found["status"] != "Succeeded" || found["isTerminal"] != true {
		t.Errorf("after it was applied: %v", found)
	}
}
