package metadata

import (
	"slices"
	"strconv"
	"strings"

	"github.com/openimds/openimds"
)

// table is every category, in the order of paths; tree is the same, compiled for lookups. Versions
// and meanings are those of the EC2 user guide, "Access instance metadata for an EC2 instance".
var (
	table = func() []row {
		rows := slices.Concat(instanceRows, placeRows, networkRows, credentialRows, dynamicRows)
		slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Path, b.Path) })
		return rows
	}()
	tree = compile(table, placeholders)
)

// instanceRows say what the instance is and what was given to it.
var instanceRows = []row{
	{
		Path: "meta-data/ami-id", Since: "1.0",
		Doc:   "Id of the image that the instance was launched from.",
		Value: text(func(in *openimds.Instance) string { return in.ImageID }),
	},
	{
		Path: "meta-data/ami-launch-index", Since: "1.0",
		Doc: "Position of the instance among those launched by one request, from 0; always 0 in an Auto Scaling group.",
		Value: body(func(b []byte, in *openimds.Instance) []byte {
			return strconv.AppendInt(b, int64(in.ShownLaunchIndex()), 10)
		}),
		OverRecording: inAutoScalingGroup,
	},
	{
		Path: "meta-data/ami-manifest-path", Since: "1.0",
		Doc:   "Path of the image's manifest in S3; `(unknown)`, since images on EBS have none.",
		Value: constant("(unknown)"),
	},
	{
		Path: "meta-data/ancestor-ami-ids", Since: "2007-10-10",
		Doc: "Ids of the images that this image was made from, one a line.", When: "the image names its ancestors",
		Value: body(func(b []byte, in *openimds.Instance) []byte { return appendLines(b, in.AncestorAMIIDs) }),
	},
	{
		Path: "meta-data/autoscaling/target-lifecycle-state", Since: "2021-07-15",
		Doc: "State that the instance's Auto Scaling group is moving it to.", When: "the instance is in an Auto Scaling group",
		Value:         text(func(in *openimds.Instance) string { return in.Events.LifecycleState }),
		OverRecording: inAutoScalingGroup,
	},
	{
		Path: "meta-data/block-device-mapping/{device}", Since: "2007-12-15",
		Doc: "Device behind a virtual name: `ami`, `root`, `ebsN`, `ephemeralN`, `swap`.", When: "for each mapped device",
		Value: func(it Item, v *View, a args) Item {
			it.Body = append(it.Body, v.Instance.BlockDevices[a[0]].Device...)
			return it
		},
	},
	{
		Path: "meta-data/events/maintenance/history", Since: "2018-08-17",
		Doc:           "Maintenance events that were completed or canceled, as a JSON array.",
		Value:         maintenance(true),
		OverRecording: hasMaintenance,
	},
	{
		Path: "meta-data/events/maintenance/scheduled", Since: "2018-08-17",
		Doc:           "Maintenance events that are still to come or under way, as a JSON array.",
		Value:         maintenance(false),
		OverRecording: hasMaintenance,
	},
	{
		Path: "meta-data/events/recommendations/rebalance", Since: "2020-10-27",
		Doc: "Time at which a rebalance recommendation was issued, as JSON.", When: "a rebalance recommendation was issued",
		Value:         body(rebalance),
		OverRecording: hasRebalance,
	},
	{
		Path: "meta-data/hibernation/configured", Since: "2019-10-01", Undated: true,
		Doc: "`true`: the instance can be hibernated.", When: "hibernation is configured or announced",
		Value: text(func(in *openimds.Instance) string {
			if in.Hibernates() {
				return "true"
			}
			return ""
		}),
		OverRecording: hibernates,
	},
	{
		Path: "meta-data/instance-action", Since: "2008-09-01",
		Doc:   "What the instance should prepare for before it is bundled; always `none`.",
		Value: constant("none"),
	},
	{
		Path: "meta-data/instance-id", Since: "1.0",
		Doc:   "Id of the instance.",
		Value: text(func(in *openimds.Instance) string { return in.ID }),
	},
	{
		Path: "meta-data/instance-life-cycle", Since: "2019-10-01",
		Doc:           "How the instance was bought: `on-demand`, `spot` or `scheduled`; `spot` while an interruption or a rebalance is announced.",
		Value:         text((*openimds.Instance).ShownLifeCycle),
		OverRecording: isSpot,
	},
	{
		Path: "meta-data/instance-type", Since: "2007-08-29",
		Doc:   "Type of the instance.",
		Value: text(func(in *openimds.Instance) string { return in.InstanceType }),
	},
	{
		Path: "meta-data/kernel-id", Since: "2008-02-01",
		Doc: "Id of the kernel that the instance was launched with.", When: "the instance has a kernel of its own",
		Value: text(func(in *openimds.Instance) string { return in.KernelID }),
	},
	{
		// EC2 Instance Connect came in June 2019.
		Path: "meta-data/managed-ssh-keys/active-keys/{user}", Since: "2019-10-01", Undated: true,
		Doc: "Public keys pushed for a user of the operating system.", When: "a key was pushed and has not expired",
		Value: func(it Item, v *View, a args) Item {
			user := v.Instance.ManagedKeys[a[0]].User
			for i := range v.Instance.ManagedKeys {
				if k := &v.Instance.ManagedKeys[i]; k.User == user && k.Active(v.Now) {
					it.Body = append(it.Body, k.Lines...)
				}
			}
			return it
		},
	},
	{
		Path: "meta-data/managed-ssh-keys/signer-cert", Since: "2019-10-01", Undated: true,
		Doc: "Certificates, as PEM, by which the signatures of pushed keys are checked.", When: "a key was pushed and has not expired, and the service can sign",
		Value: func(it Item, v *View, _ args) Item {
			if text, ok := signerCert(v); ok {
				it.Body = append(it.Body, text...)
			}
			return it
		},
		If: hasActiveKeys,
	},
	{
		Path: "meta-data/managed-ssh-keys/signer-ocsp/{certificate}", Since: "2019-10-01", Undated: true,
		Doc: "OCSP answer, in base64, that says that the signer's certificate is good; its name is the certificate's SHA-1 fingerprint.", When: "a key was pushed and has not expired, and the service can sign",
		Value: func(it Item, v *View, _ args) Item {
			if _, text, ok := signerOCSP(v); ok {
				it.Body = append(it.Body, text...)
			}
			return it
		},
	},
	{
		Path: "meta-data/metrics/vhostmd", Since: "2011-05-01",
		Doc:   "Metrics of the host; no longer offered, so only an XML declaration.",
		Value: constant(`<?xml version="1.0" encoding="UTF-8"?>`),
	},
	{
		Path: "meta-data/product-codes", Since: "2007-03-01",
		Doc: "AWS Marketplace product codes of the instance, one a line.", When: "the instance has product codes",
		Value: body(func(b []byte, in *openimds.Instance) []byte { return appendLines(b, in.ProductCodes) }),
	},
	{
		// It tells hardware virtualization from paravirtualization, a choice that came in July 2010.
		Path: "meta-data/profile", Since: "2011-01-01", Undated: true,
		Doc:   "Virtualization profile; always `default-hvm`.",
		Value: constant("default-hvm"),
	},
	{
		Path: "meta-data/public-keys/{index}/openssh-key", Since: "1.0",
		Doc: "Public key given at launch, as a line of `authorized_keys`.", When: "for each key pair given at launch",
		Value: func(it Item, v *View, a args) Item {
			// This value alone ends with a line feed, as recorded.
			if key := v.Instance.PublicKeys[a[0]].Key; key != "" {
				it.Body = append(append(it.Body, key...), '\n')
			}
			return it
		},
	},
	{
		Path: "meta-data/ramdisk-id", Since: "2007-10-10",
		Doc: "Id of the RAM disk that the instance was launched with.", When: "the instance has a RAM disk of its own",
		Value: text(func(in *openimds.Instance) string { return in.RamdiskID }),
	},
	{
		Path: "meta-data/reservation-id", Since: "1.0",
		Doc:   "Id of the request that launched the instance.",
		Value: text(func(in *openimds.Instance) string { return in.ReservationID }),
	},
	{
		Path: "meta-data/spot/instance-action", Since: "2016-11-15",
		Doc: "What will happen to the spot instance, and when, as JSON.", When: "an interruption was announced",
		Value:         body(spotAction),
		OverRecording: hasInterruption,
	},
	{
		Path: "meta-data/spot/termination-time", Since: "2014-11-05",
		Doc: "Time at which the spot instance will be told to shut down.", When: "a termination was announced",
		Value: body(func(b []byte, in *openimds.Instance) []byte {
			if s := in.Events.Spot; s != nil && s.Action == "terminate" {
				return appendTime(b, s.Time)
			}
			return b
		}),
		OverRecording: hasInterruption,
	},
	{
		Path: "meta-data/system", Since: "2022-09-24",
		Doc:   "Hypervisor family of the instance: `nitro`, `xen` or `xen-on-nitro`.",
		Value: text(func(in *openimds.Instance) string { return in.System }),
	},
	{
		Path: "meta-data/tags/instance/{key}", Since: "2021-03-23",
		Doc: "Value of a tag; it may be empty.", When: "tags are shown in metadata, for each tag whose key is allowed in a path",
		Value: func(it Item, v *View, a args) Item {
			it.Body = append(it.Body, v.Instance.Tags[a[0]].Value...)
			return it
		},
		If: always,
	},
	{
		Path: "user-data", Since: "1.0", Listed: true, Secret: true,
		Doc: "What the user gave the instance at launch, byte for byte.", When: "there is user data; listed even without",
		Value:         body(func(b []byte, in *openimds.Instance) []byte { return append(b, in.UserData...) }),
		ContentType:   octetStream,
		OverRecording: func(in *openimds.Instance) bool { return len(in.UserData) > 0 },
	},
}

// placeRows say where the instance runs.
var placeRows = []row{
	{
		Path: "meta-data/placement/availability-zone", Since: "2008-02-01",
		Doc:   "Zone of the instance.",
		Value: text(func(in *openimds.Instance) string { return in.Zone }),
	},
	{
		Path: "meta-data/placement/availability-zone-id", Since: "2019-10-01",
		Doc: "Id of the zone, the same for all accounts.", When: "the zone has an id",
		Value: text(func(in *openimds.Instance) string { return in.ZoneID }),
	},
	{
		Path: "meta-data/placement/group-name", Since: "2020-08-24",
		Doc: "Name of the placement group.", When: "the instance is in a placement group",
		Value: text(func(in *openimds.Instance) string { return in.PlacementGroup }),
	},
	{
		Path: "meta-data/placement/host-id", Since: "2020-08-24",
		Doc: "Id of the dedicated host.", When: "the instance runs on a dedicated host",
		Value: text(func(in *openimds.Instance) string { return in.HostID }),
	},
	{
		Path: "meta-data/placement/partition-number", Since: "2020-08-24",
		Doc: "Number of the partition within the placement group, from 1.", When: "the placement group has partitions",
		Value: body(func(b []byte, in *openimds.Instance) []byte {
			if in.PartitionNumber == 0 {
				return b
			}
			return strconv.AppendInt(b, int64(in.PartitionNumber), 10)
		}),
	},
	{
		Path: "meta-data/placement/region", Since: "2020-08-24",
		Doc:   "Region of the instance.",
		Value: text(func(in *openimds.Instance) string { return in.Region }),
	},
	{
		Path: "meta-data/services/domain", Since: "2014-02-25",
		Doc: "Domain of the AWS services of the region.",
		Value: text(func(in *openimds.Instance) string {
			_, domain := partitionOf(in.Region)
			return domain
		}),
	},
	{
		Path: "meta-data/services/partition", Since: "2015-10-20",
		Doc: "Partition of the region, as in ARNs.",
		Value: text(func(in *openimds.Instance) string {
			partition, _ := partitionOf(in.Region)
			return partition
		}),
	},
}

// dynamicRows are made when they are asked for; on EC2 that is what sets them apart.
var dynamicRows = []row{
	{
		Path: "dynamic/fws/instance-monitoring", Since: "2009-04-04", Unlisted: true,
		Doc: "`enabled` or `disabled`: detailed monitoring of the instance.", When: "always, though `dynamic/` does not list it",
		Value: text(func(in *openimds.Instance) string {
			if in.DetailedMonitoring {
				return "enabled"
			}
			return "disabled"
		}),
	},
	{
		Path: "dynamic/instance-identity/document", Since: "2009-04-04",
		Doc:   "The instance identity document, as JSON.",
		Value: document,
		If:    always,
	},
	{
		Path: "dynamic/instance-identity/pkcs7", Since: "2009-04-04",
		Doc: "The document within a PKCS#7 message signed with DSA, in base64.", When: "the service can sign",
		Value: signature(Signatures.PKCS7),
	},
	{
		Path: "dynamic/instance-identity/rsa2048", Since: "2009-04-04",
		Doc: "The document within a PKCS#7 message signed with RSA, in base64.", When: "the service can sign",
		Value: signature(Signatures.RSA2048),
	},
	{
		Path: "dynamic/instance-identity/signature", Since: "2009-04-04",
		Doc: "RSA signature of the document, in base64.", When: "the service can sign",
		Value: signature(Signatures.Signature),
	},
}

// credentialRows are the role that reaches the guest, and the instance's own credentials.
var credentialRows = []row{
	{
		Path: "meta-data/iam/info", Since: "2012-01-12",
		Doc: "The instance profile, as JSON.", When: "the instance has a role",
		Value: iamInfo,
		If:    hasRole,
	},
	{
		Path: "meta-data/iam/security-credentials/{role}", Since: "2012-01-12", Secret: true,
		Doc: "Temporary credentials of the role, as JSON. Requests with and without a session token get different ones.", When: "the instance has a role",
		Value: credentials(roleSet, false),
		If:    hasRole,
	},
	{
		// AWS documents it nowhere; its SDKs of 2025 and later ask for it first, and go on with the row above after a 404.
		Path: "meta-data/iam/security-credentials-extended/{role}", Since: "2024-04-11", Undated: true, Secret: true,
		Doc: "Temporary credentials of the role with their `AccountId`, as JSON.", When: "the instance has a role and shows extended credentials",
		Value: credentials(roleSet, true),
		If: func(v *View, a args) bool {
			return hasRole(v, a) && (v.Instance.ExtendedCredentials || v.Recorded != nil)
		},
	},
	{
		Path: "meta-data/identity-credentials/ec2/info", Since: "2018-05-23",
		Doc: "Account of the instance's own credentials, as JSON.", When: "the service has credentials to give",
		Value: identityCredentialsInfo,
		If:    hasCredentials,
	},
	{
		Path: "meta-data/identity-credentials/ec2/security-credentials/ec2-instance", Since: "2018-05-23", Secret: true,
		Doc: "Temporary credentials of the instance itself, as JSON, for AWS's own features.", When: "the service has credentials to give",
		Value: credentials(func(*View) openimds.CredentialSet { return openimds.InstanceIdentity }, false),
		If:    hasCredentials,
	},
}
