package aemm

// defaultPaths are where the mock answers a value, below the version, unless the file says otherwise.
// What stands in braces is the value of another key, for which the mock has a value of its own.
var defaultPaths = map[string]string{
	"metadata.ami-id":                           "meta-data/ami-id",
	"metadata.ami-launch-index":                 "meta-data/ami-launch-index",
	"metadata.ami-manifest-path":                "meta-data/ami-manifest-path",
	"metadata.block-device-mapping-ami":         "meta-data/block-device-mapping/ami",
	"metadata.block-device-mapping-ebs":         "meta-data/block-device-mapping/ebs0",
	"metadata.block-device-mapping-ephemeral":   "meta-data/block-device-mapping/ephemeral0",
	"metadata.block-device-mapping-root":        "meta-data/block-device-mapping/root",
	"metadata.block-device-mapping-swap":        "meta-data/block-device-mapping/swap",
	"metadata.elastic-inference-associations":   "meta-data/elastic-inference/associations",
	"metadata.elastic-inference-accelerator":    "meta-data/elastic-inference/associations/{elastic-inference-associations}",
	"metadata.events":                           "meta-data/events/maintenance/scheduled",
	"metadata.hostname":                         "meta-data/hostname",
	"metadata.iam-info":                         "meta-data/iam/info",
	"metadata.iam-security-credentials-role":    "meta-data/iam/security-credentials",
	"metadata.iam-security-credentials":         "meta-data/iam/security-credentials/{iam-security-credentials-role}",
	"metadata.instance-action":                  "meta-data/instance-action",
	"metadata.instance-id":                      "meta-data/instance-id",
	"metadata.instance-life-cycle":              "meta-data/instance-life-cycle",
	"metadata.instance-type":                    "meta-data/instance-type",
	"metadata.kernel-id":                        "meta-data/kernel-id",
	"metadata.local-hostname":                   "meta-data/local-hostname",
	"metadata.local-ipv4":                       "meta-data/local-ipv4",
	"metadata.mac":                              "meta-data/mac",
	"metadata.mac-device-number":                "meta-data/network/interfaces/macs/{mac}/device-number",
	"metadata.mac-ipv4-associations":            "meta-data/network/interfaces/macs/{mac}/ipv4-associations/{public-ipv4}",
	"metadata.mac-ipv6-associations":            "meta-data/network/interfaces/macs/{mac}/ipv6s",
	"metadata.mac-local-hostname":               "meta-data/network/interfaces/macs/{mac}/local-hostname",
	"metadata.mac-local-ipv4s":                  "meta-data/network/interfaces/macs/{mac}/local-ipv4s",
	"metadata.mac-mac":                          "meta-data/network/interfaces/macs/{mac}/mac",
	"metadata.mac-network-interface-id":         "meta-data/network/interfaces/macs/{mac}/interface-id",
	"metadata.mac-network-interface-card-index": "meta-data/network/interfaces/macs/{mac}/network-card-index",
	"metadata.mac-owner-id":                     "meta-data/network/interfaces/macs/{mac}/owner-id",
	"metadata.mac-public-hostname":              "meta-data/network/interfaces/macs/{mac}/public-hostname",
	"metadata.mac-public-ipv4s":                 "meta-data/network/interfaces/macs/{mac}/public-ipv4s",
	"metadata.mac-security-group-ids":           "meta-data/network/interfaces/macs/{mac}/security-group-ids",
	"metadata.mac-security-groups":              "meta-data/network/interfaces/macs/{mac}/security-groups",
	"metadata.mac-subnet-id":                    "meta-data/network/interfaces/macs/{mac}/subnet-id",
	"metadata.mac-subnet-ipv4-cidr-block":       "meta-data/network/interfaces/macs/{mac}/subnet-ipv4-cidr-block",
	"metadata.mac-subnet-ipv6-cidr-blocks":      "meta-data/network/interfaces/macs/{mac}/subnet-ipv6-cidr-blocks",
	"metadata.mac-vpc-id":                       "meta-data/network/interfaces/macs/{mac}/vpc-id",
	"metadata.mac-vpc-ipv4-cidr-block":          "meta-data/network/interfaces/macs/{mac}/vpc-ipv4-cidr-block",
	"metadata.mac-vpc-ipv4-cidr-blocks":         "meta-data/network/interfaces/macs/{mac}/vpc-ipv4-cidr-blocks",
	"metadata.mac-vpc-ipv6-cidr-blocks":         "meta-data/network/interfaces/macs/{mac}/vpc-ipv6-cidr-blocks",
	"metadata.placement-availability-zone":      "meta-data/placement/availability-zone",
	"metadata.placement-availability-zone-id":   "meta-data/placement/availability-zone-id",
	"metadata.placement-group-name":             "meta-data/placement/group-name",
	"metadata.placement-host-id":                "meta-data/placement/host-id",
	"metadata.placement-partition-number":       "meta-data/placement/partition-number",
	"metadata.placement-region":                 "meta-data/placement/region",
	"metadata.product-codes":                    "meta-data/product-codes",
	"metadata.public-hostname":                  "meta-data/public-hostname",
	"metadata.public-ipv4":                      "meta-data/public-ipv4",
	"metadata.public-key":                       "meta-data/public-keys/0/openssh-key",
	"metadata.ramdisk-id":                       "meta-data/ramdisk-id",
	"metadata.reservation-id":                   "meta-data/reservation-id",
	"metadata.security-groups":                  "meta-data/security-groups",
	"metadata.services-domain":                  "meta-data/services/domain",
	"metadata.services-partition":               "meta-data/services/partition",
	"metadata.spot":                             "meta-data/spot/instance-action",
	"metadata.spot-termination-time":            "meta-data/spot/termination-time",
	"metadata.rebalance-rec-time":               "meta-data/events/recommendations/rebalance",
	"metadata.tags-instance-name":               "meta-data/tags/instance/Name",
	"metadata.tags-instance-test":               "meta-data/tags/instance/Test",
	"metadata.target-lifecycle-state":           "meta-data/autoscaling/target-lifecycle-state",
	"dynamic.instance-identity-document":        "dynamic/instance-identity/document",
	"dynamic.instance-identity-pkcs":            "dynamic/instance-identity/pkcs7",
	"dynamic.instance-identity-signature":       "dynamic/instance-identity/signature",
	"dynamic.fws-instance-monitoring":           "dynamic/fws/instance-monitoring",
	"userdata.userdata":                         "user-data",
}

// placeholders are the values of the mock for what stands in braces.
var placeholders = map[string]string{
	"mac":                            "0e:49:61:0f:c3:11",
	"public-ipv4":                    "192.0.2.54",
	"iam-security-credentials-role":  "baskinc-role",
	"elastic-inference-associations": "eia-bfa21c7904f64a82a21b9f4540169ce1",
}

// announced are the paths of what the mock announces; they have no values of their own.
var announced = map[string]bool{
	"metadata.events": true, "metadata.spot": true, "metadata.spot-termination-time": true,
	"metadata.rebalance-rec-time": true, "metadata.target-lifecycle-state": true,
}

// documentKeys are the keys of documents as AWS spells them. A file that the mock has saved has them in
// small letters.
var documentKeys = []string{
	"accountId", "architecture", "availabilityZone", "billingProducts", "devpayProductCodes", "marketplaceProductCodes",
	"imageId", "instanceId", "instanceType", "kernelId", "pendingTime", "privateIp", "ramdiskId", "region", "version",
	"Code", "LastUpdated", "InstanceProfileArn", "InstanceProfileId", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration",
}
