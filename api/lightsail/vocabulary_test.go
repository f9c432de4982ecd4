package lightsail_test

import (
	"cmp"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/control"
)

// TestVocabulary: what the rules say in words of their own is told to clients in Lightsail's, to the letter.
func TestVocabulary(t *testing.T) {
	s := newServer(t)
	ctx := t.Context()
	if _, err := s.service.DefaultKeyPair(ctx); err != nil {
		t.Fatal(err)
	}
	of := func(_ any, err error) error { return err }
	type update = control.InstanceUpdate
	set := func(u update) error { return of(s.service.SetInstance(ctx, "demo", u)) }
	options := func(u openimds.OptionsUpdate) error { return of(s.service.UpdateOptions(ctx, "demo", u)) }
	attach := func(a openimds.Attachment) error { return a.Validate() }
	create := func(l control.InstancesLaunch) error {
		l.Zone, l.BlueprintID, l.BundleID = "us-east-1a", cmp.Or(l.BlueprintID, "debian_12"), cmp.Or(l.BundleID, "nano_3_0")
		return of(s.service.CreateInstances(ctx, l))
	}
	alarm := func(change func(*openimds.AlarmConfig)) error {
		c := openimds.AlarmConfig{Metric: openimds.MetricNoToken, Instance: "demo", Comparison: openimds.Above, Periods: 2}
		change(&c)
		return of(s.service.PutAlarm(ctx, "alarm", c, nil))
	}
	type config = openimds.AlarmConfig

	for _, tt := range []struct {
		err           error
		code          string
		told, neutral string // the beginning
	}{
		{of(s.service.Instance(ctx, "absent")), "DoesNotExist", "The Instance does not exist: absent", "The instance absent does not exist"},
		{of(s.service.KeyPair(ctx, "absent")), "DoesNotExist", "The KeyPair does not exist: absent", "The key pair absent does not exist"},
		{of(s.service.StaticIP(ctx, "absent")), "DoesNotExist", "The StaticIp does not exist: absent", "The static IP absent does not exist"},
		{of(s.service.Alarm(ctx, "absent")), "DoesNotExist", "The Alarm does not exist: absent", "The alarm absent does not exist"},
		{of(s.service.Operation(ctx, "absent")), "DoesNotExist", "The Operation does not exist: absent", "The operation absent does not exist"},
		{of(s.service.TagResource(ctx, "absent", "", nil)), "DoesNotExist", "The resource does not exist: absent", "The resource absent does not exist"},
		{of(s.service.AllocateStaticIP(ctx, "demo")), "NameExists", "Some names are already in use: demo", "These names are taken: demo"},
		{create(control.InstancesLaunch{Names: []string{"aa"}, BlueprintID: "beos"}), "", "The specified blueprint does not exist in this region: beos", "The blueprint beos is not offered in this region"},
		{create(control.InstancesLaunch{Names: []string{"aa"}, BundleID: "nano_1_0"}), "", "The specified bundle does not exist in this region: nano_1_0", "The bundle nano_1_0 is not offered in this region"},
		{create(control.InstancesLaunch{Names: []string{"aa"}, AddressType: "ipv5"}), "", `ipAddressType must be dualstack, ipv4 or ipv6, not "ipv5"`, "The IP address type must be dualstack, "},
		{of(s.service.SetAddressType(ctx, "demo", "ipv6", false)), "", "The IP address type ipv6 needs the bundle nano_ipv6_3_0; set acceptBundleUpdate to change to it", "The IP address type ipv6 needs the bundle nano_ipv6_3_0; set the consent to another bundle to"},

		{options(openimds.OptionsUpdate{Tokens: new(openimds.TokensMode("x"))}), "", `httpTokens must be optional or required, not "x"`, "The use of session tokens must be optional"},
		{options(openimds.OptionsUpdate{Endpoint: new(openimds.EndpointMode("x"))}), "", `httpEndpoint must be enabled or disabled, not "x"`, "The endpoint must be enabled"},
		{options(openimds.OptionsUpdate{IPv6: new(openimds.EndpointMode("x"))}), "", `httpProtocolIpv6 must be enabled or disabled, not "x"`, "The IPv6 endpoint must be enabled"},
		{options(openimds.OptionsUpdate{HopLimit: new(65)}), "", "httpPutResponseHopLimit must be 1 to 64, not 65", "The hop limit must be 1 to 64, not 65"},

		{set(update{OwnerID: new("?")}), "", `ownerId cannot be "?": it must have the form ^[0-9]{12}$`, "The owner's id cannot be"},
		{set(update{ImageID: new("?")}), "", `imageId cannot be "?"`, "The id of the image cannot be"},
		{set(update{InstanceType: new("?")}), "", `instanceType cannot be "?"`, "The instance type cannot be"},
		{set(update{Architecture: new("?")}), "", `architecture cannot be "?"`, "The architecture cannot be"},
		{set(update{System: new("?")}), "", `system cannot be "?"`, "The virtualization system cannot be"},
		{set(update{LifeCycle: new("?")}), "", `lifeCycle cannot be "?"`, "The life cycle cannot be"},
		{set(update{ReservationID: new("?")}), "", `reservationId cannot be "?"`, "The id of the reservation cannot be"},
		{set(update{Zone: new("?")}), "", `availabilityZone cannot be "?"`, "The availability zone cannot be"},
		{set(update{Hostname: new("?")}), "", `hostname cannot be "?"`, "The host name cannot be"},
		{set(update{PublicHostname: new("?")}), "", `publicHostname cannot be "?"`, "The public host name cannot be"},
		{set(update{RoleName: new("?")}), "", `roleName cannot be "?"`, "The name of the role cannot be"},
		{set(update{KernelID: new("?")}), "", `kernelId cannot be "?"`, "The id of the kernel cannot be"},
		{set(update{RamdiskID: new("?")}), "", `ramdiskId cannot be "?"`, "The id of the RAM disk cannot be"},
		{set(update{PlacementGroup: new("?")}), "", `placementGroup cannot be "?"`, "The placement group cannot be"},
		{set(update{HostID: new("?")}), "", `hostId cannot be "?"`, "The id of the host cannot be"},
		{set(update{LaunchIndex: new(-1)}), "", "launchIndex and partitionNumber must be 0 to 1048576, not -1", "The launch index and the partition number must be"},
		{set(update{ProductCodes: &[]string{"?"}}), "", `ancestorAmiIds and productCodes cannot have "?" among them`, "The ids of the ancestor images and the product codes cannot"},

		{of(s.service.ImportKeyPair(ctx, "mine", "x")), "", "publicKeyBase64 is not a public key of OpenSSH's one-line form: ", "The public key is not a public key"},
		{of(s.service.DeleteKeyPair(ctx, openimds.DefaultKeyPairName, "")), "", "To delete the default key pair, give its fingerprint as expectedFingerprint", "To delete the default key pair, give its fingerprint as the expected fingerprint"},
		{of(s.service.DeleteKeyPair(ctx, openimds.DefaultKeyPairName, "0")), "", "The key pair LightsailDefaultKeyPair has another fingerprint than expectedFingerprint", "The key pair LightsailDefaultKeyPair has another fingerprint than the"},

		{alarm(func(c *config) { c.Periods = 289 }), "", "evaluationPeriods must be 1 to 288, not 289", "The number of periods must"},
		{alarm(func(c *config) { c.Datapoints = 3 }), "", "datapointsToAlarm must be 1 to evaluationPeriods, not 3", "The number of breaching periods must be 1 to the number of periods, not 3"},
		{alarm(func(c *config) { c.Threshold = math.NaN() }), "", "threshold must be a number, not NaN", "The threshold must"},
		{alarm(func(c *config) { c.Comparison = "x" }), "", `comparisonOperator is unknown: "x"`, "The comparison is"},
		{alarm(func(c *config) { c.MissingData = "x" }), "", `treatMissingData is unknown: "x"`, "The treatment of missing data is"},
		{alarm(func(c *config) { c.NotifyOn = []openimds.AlarmState{"OK"} }), "", "notificationTriggers must have ALARM among them", "The list of states to tell of must"},
		{of(s.service.MetricData(ctx, "demo", openimds.MetricNoToken, "Count", time.Unix(0, 0), time.Unix(2*86400, 0), time.Minute)), "",
			"You have requested up to 2880 datapoints, which exceeds the limit of 1440. You may reduce the datapoints requested by increasing Period, or decreasing the time range.",
			"You have requested up to 2880 datapoints, which exceeds the limit of 1440. You may reduce the datapoints requested by increasing the period, or"},

		{attach(openimds.Attachment{}), "", "An attachment names one of interface, networkNamespace and processId", "An attachment names one of the interface, the network namespace and the id of the process"},
		{attach(openimds.Attachment{PID: 1, Alias: "x"}), "", "ifAlias is a mark of an interface; a namespace or process has none", "The alias is a mark"},
		{attach(openimds.Attachment{PID: 1, ByName: true}), "", "byName takes whatever has the name of an interface or namespace; leave out macAddress, ifAlias and processId", "An attachment by name takes whatever"},

		{of(s.service.UpdateFaults(ctx, "demo", control.FaultsUpdate{On: new(openimds.FaultTarget("x"))})), "", `The requests that faults are for must be one of [all token data] or a path such as meta-data/iam, not "x"`, "The requests that faults are for must be one of"},
		{of(s.service.UpdateEvents(ctx, "demo", control.EventsUpdate{LifecycleState: new("x")})), "", "The target lifecycle state must be one of [Detached", "The target lifecycle state must be one of"},
		{set(update{Overlay: map[string]*string{"a//x": nil}}), "", `The overlay cannot be used: overlay path "a//x" has a segment that is empty`, "The overlay cannot be used: overlay path"},
	} {
		if tt.err == nil {
			t.Errorf("not refused, want %q", tt.told)
			continue
		}
		_, code, told := lightsail.Told(tt.err)
		if code != tt.code || !strings.HasPrefix(told, tt.told) || !strings.HasPrefix(tt.err.Error(), tt.neutral) {
			t.Errorf("%v\n is told as %q with the code %q,\n want %q, %q and %q", tt.err, told, code, tt.neutral, tt.told, tt.code)
		}
	}
}
