package openimds

// Code says what went wrong, for machines: whoever sees to it acts on the code, and need not read the message. Codes
// stay what they are; each API has names of its own for them.
type Code string

// The codes of errors.
const (
	// NameTaken: a resource of any type has the name, or it is asked for twice.
	NameTaken Code = "NameTaken"
	// DoesNotExist: no resource has the name, and no operation the id.
	DoesNotExist Code = "DoesNotExist"
	// NotOffered: the region's catalogue has no blueprint or bundle of that id.
	NotOffered Code = "NotOffered"
	// UnknownValue: the value is none of those that there are.
	UnknownValue Code = "UnknownValue"
	// Malformed: the value does not have the form that is needed.
	Malformed Code = "Malformed"
	// OutOfRange: a number or a time is too small, too large, too early or too late.
	OutOfRange Code = "OutOfRange"
	// TooLarge: a text or a body has too many bytes or characters.
	TooLarge Code = "TooLarge"
	// TooMany: there are more items than may be.
	TooMany Code = "TooMany"
	// Duplicate: an item of a list is there twice, or overlaps another one.
	Duplicate Code = "Duplicate"
	// Incomplete: something that is needed with the rest was left out.
	Incomplete Code = "Incomplete"
	// Conflicting: what is asked for contradicts itself, or what else the resource has.
	Conflicting Code = "Conflicting"
	// Incompatible: the resources that are named do not go together.
	Incompatible Code = "Incompatible"
	// Mismatch: a resource is not the one that the caller takes it for.
	Mismatch Code = "Mismatch"
	// Reserved: the name is kept for something else.
	Reserved Code = "Reserved"
	// WrongState: the resource's state forbids it.
	WrongState Code = "WrongState"
	// InUse: something else has what is asked for, and must be taken off first.
	InUse Code = "InUse"
	// NotEnforced: nothing here carries it out, so it is not accepted.
	NotEnforced Code = "NotEnforced"
	// ReadOnly: the caller's key may look and not change.
	ReadOnly Code = "ReadOnly"
	// Contended: too many others change the resource at the same time.
	Contended Code = "Contended"
	// StoreAway: the store cannot be reached, or does not decide in time.
	StoreAway Code = "StoreAway"
	// AuditAway: the log of changes cannot be written, so nothing may be changed.
	AuditAway Code = "AuditAway"
	// Unready: what is asked for takes longer to make than the request may take; it is likely there for the next one.
	Unready Code = "Unready"
	// HistoryAway: what the guest side counted cannot be read.
	HistoryAway Code = "HistoryAway"
	// TokensEnforced: the account demands that session tokens are required.
	TokensEnforced Code = "TokensEnforced"
	// Terminated: what was asked for before is there no more.
	Terminated Code = "Terminated"
	// Broken: the service itself failed, or what it keeps is damaged.
	Broken Code = "Broken"
)

// Field names what an error is about, where APIs have a member for it. Its neutral words go into a sentence.
type Field string

// The fields of errors.
const (
	// Of metadata options.
	FieldTokens       Field = "the use of session tokens"
	FieldEndpoint     Field = "the endpoint"
	FieldHopLimit     Field = "the hop limit"
	FieldIPv6Endpoint Field = "the IPv6 endpoint"
	FieldMetadataTags Field = "the tags in the metadata"
	// FieldTokensEnforced is of the account's defaults.
	FieldTokensEnforced Field = "the enforcement of session tokens"

	// Of new instances and their addresses.
	FieldClientToken  Field = "the client's token"
	FieldBlueprint    Field = "the blueprint"
	FieldBundle       Field = "the bundle"
	FieldAddressType  Field = "the IP address type"
	FieldAcceptBundle Field = "the consent to another bundle"

	// Of what a guest reads of its instance.
	FieldOwnerID         Field = "the owner's id"
	FieldImageID         Field = "the id of the image"
	FieldInstanceType    Field = "the instance type"
	FieldArchitecture    Field = "the architecture"
	FieldSystem          Field = "the virtualization system"
	FieldLifeCycle       Field = "the life cycle"
	FieldReservationID   Field = "the id of the reservation"
	FieldZone            Field = "the availability zone"
	FieldHostname        Field = "the host name"
	FieldPublicHostname  Field = "the public host name"
	FieldRoleName        Field = "the name of the role"
	FieldKernelID        Field = "the id of the kernel"
	FieldRamdiskID       Field = "the id of the RAM disk"
	FieldPlacementGroup  Field = "the placement group"
	FieldHostID          Field = "the id of the host"
	FieldLaunchIndex     Field = "the launch index"
	FieldPartitionNumber Field = "the partition number"
	FieldAncestorAMIIDs  Field = "the ids of the ancestor images"
	FieldProductCodes    Field = "the product codes"

	// Of key pairs.
	FieldPublicKey   Field = "the public key"
	FieldFingerprint Field = "the expected fingerprint"

	// Of alarms and metrics.
	FieldPeriods     Field = "the number of periods"
	FieldDatapoints  Field = "the number of breaching periods"
	FieldThreshold   Field = "the threshold"
	FieldComparison  Field = "the comparison"
	FieldMissingData Field = "the treatment of missing data"
	FieldNotifyOn    Field = "the list of states to tell of"
	FieldPeriod      Field = "the period"
	FieldDescription Field = "the description"
	FieldReason      Field = "the reason of the state"
	FieldReasonData  Field = "the data of the reason"

	// Of attachments.
	FieldInterface Field = "the interface"
	FieldNetns     Field = "the network namespace"
	FieldPID       Field = "the id of the process"
	FieldMAC       Field = "the MAC address"
	FieldAlias     Field = "the alias"
	FieldByName    Field = "an attachment by name"

	// Of announcements and faults.
	FieldSpotAction       Field = "the action of a spot interruption"
	FieldLifecycleState   Field = "the target lifecycle state"
	FieldMaintenanceCode  Field = "the code of a scheduled event"
	FieldMaintenanceState Field = "the state of a scheduled event"
	FieldFaultTarget      Field = "the requests that faults are for"
)

// neutral are the words that belong to no API.
var neutral = Vocabulary{Types: map[ResourceType]string{
	TypeInstance: "instance", TypeKeyPair: "key pair", TypeStaticIP: "static IP", TypeAlarm: "alarm", TypeOperation: "operation", TypeHost: "host", TypeAny: "resource",
}}
