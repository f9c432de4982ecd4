package openimds

// ResourceType says what a resource is, by the names of the Lightsail API.
type ResourceType string

// The types of resources that have records.
const (
	TypeInstance ResourceType = "Instance"
	TypeKeyPair  ResourceType = "KeyPair"
	TypeStaticIP ResourceType = "StaticIp"
	TypeAlarm    ResourceType = "Alarm"
)

// What else errors tell of.
const (
	TypeOperation ResourceType = "Operation"
	TypeHost      ResourceType = "Host"
	TypeAny       ResourceType = "resource" // whichever has the name
)
