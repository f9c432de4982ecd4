package lightsail

import "github.com/openimds/openimds"

// vocabulary is how Lightsail, and the operations beside it, call what errors tell of. The texts are Lightsail's
// own, as users of it have quoted them.
var vocabulary = openimds.Vocabulary{
	Fields: map[openimds.Field]string{
		openimds.FieldTokens:       "httpTokens",
		openimds.FieldEndpoint:     "httpEndpoint",
		openimds.FieldHopLimit:     "httpPutResponseHopLimit",
		openimds.FieldIPv6Endpoint: "httpProtocolIpv6",
		openimds.FieldMetadataTags: "instanceMetadataTags",

		openimds.FieldTokensEnforced: "httpTokensEnforced",

		openimds.FieldBlueprint:    "blueprint",
		openimds.FieldBundle:       "bundle",
		openimds.FieldAddressType:  "ipAddressType",
		openimds.FieldAcceptBundle: "acceptBundleUpdate",

		openimds.FieldOwnerID:         "ownerId",
		openimds.FieldImageID:         "imageId",
		openimds.FieldInstanceType:    "instanceType",
		openimds.FieldArchitecture:    "architecture",
		openimds.FieldSystem:          "system",
		openimds.FieldLifeCycle:       "lifeCycle",
		openimds.FieldReservationID:   "reservationId",
		openimds.FieldZone:            "availabilityZone",
		openimds.FieldHostname:        "hostname",
		openimds.FieldPublicHostname:  "publicHostname",
		openimds.FieldRoleName:        "roleName",
		openimds.FieldKernelID:        "kernelId",
		openimds.FieldRamdiskID:       "ramdiskId",
		openimds.FieldPlacementGroup:  "placementGroup",
		openimds.FieldHostID:          "hostId",
		openimds.FieldLaunchIndex:     "launchIndex",
		openimds.FieldPartitionNumber: "partitionNumber",
		openimds.FieldAncestorAMIIDs:  "ancestorAmiIds",
		openimds.FieldProductCodes:    "productCodes",

		openimds.FieldPublicKey:   "publicKeyBase64",
		openimds.FieldFingerprint: "expectedFingerprint",

		openimds.FieldPeriods:     "evaluationPeriods",
		openimds.FieldDatapoints:  "datapointsToAlarm",
		openimds.FieldThreshold:   "threshold",
		openimds.FieldComparison:  "comparisonOperator",
		openimds.FieldMissingData: "treatMissingData",
		openimds.FieldNotifyOn:    "notificationTriggers",
		openimds.FieldPeriod:      "Period", // as CloudWatch spells it

		openimds.FieldInterface: "interface",
		openimds.FieldNetns:     "networkNamespace",
		openimds.FieldPID:       "processId",
		openimds.FieldMAC:       "macAddress",
		openimds.FieldAlias:     "ifAlias",
		openimds.FieldByName:    "byName",
	},
	Types: map[openimds.ResourceType]string{
		openimds.TypeInstance:  "Instance",
		openimds.TypeKeyPair:   "KeyPair",
		openimds.TypeStaticIP:  "StaticIp",
		openimds.TypeAlarm:     "Alarm",
		openimds.TypeOperation: "Operation",
		openimds.TypeHost:      "host",
	},
	Texts: map[openimds.Code]string{
		openimds.NameTaken:    "Some names are already in use: %s",
		openimds.DoesNotExist: "The %s does not exist: %s",
		openimds.NotOffered:   "The specified %s does not exist in this region: %.100s",
	},
}

// codes are those that Lightsail's answers name, and of ours those by which a client knows that nothing was done; other
// failures have none.
var codes = map[openimds.Code]string{
	openimds.NameTaken:    "NameExists",
	openimds.DoesNotExist: "DoesNotExist",
	openimds.Contended:    string(openimds.Contended),
	openimds.Unready:      string(openimds.Unready),
}
