package wire

// GetAutoSnapshots is the operation whose list is empty whatever the instance.
var GetAutoSnapshots = looks[GetAutoSnapshotsRequest, GetAutoSnapshotsResult](lightsail + "GetAutoSnapshots")

// None stands in a list of what does not exist here, and which therefore is empty.
type None struct{}

// GetAutoSnapshotsRequest asks for the automatic snapshots of an instance.
type GetAutoSnapshotsRequest struct {
	ResourceName string `json:"resourceName" check:"required"`
}

// GetAutoSnapshotsResult has none.
type GetAutoSnapshotsResult struct {
	ResourceName  string `json:"resourceName"`
	ResourceType  string `json:"resourceType"`
	AutoSnapshots []None `json:"autoSnapshots"`
}
