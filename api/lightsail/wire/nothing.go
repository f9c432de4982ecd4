package wire

import "github.com/openimds/openimds/api/awsjson"

// The operations whose list is empty whatever the instance.
var (
	GetAutoSnapshots = looks[GetAutoSnapshotsRequest, GetAutoSnapshotsResult](lightsail + "GetAutoSnapshots")
	GetCostEstimate  = looks[GetCostEstimateRequest, GetCostEstimateResult](lightsail + "GetCostEstimate")
	GetSetupHistory  = looks[GetSetupHistoryRequest, GetSetupHistoryResult](lightsail + "GetSetupHistory")
)

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

// GetCostEstimateRequest asks what an instance costs in a time.
type GetCostEstimateRequest struct {
	ResourceName string         `json:"resourceName" check:"required"`
	StartTime    *awsjson.Epoch `json:"startTime" check:"required"`
	EndTime      *awsjson.Epoch `json:"endTime" check:"required"`
}

// GetCostEstimateResult has none.
type GetCostEstimateResult struct {
	Estimates []None `json:"resourcesBudgetEstimate"`
}

// GetSetupHistoryRequest asks for the latest times that an instance was given HTTPS.
type GetSetupHistoryRequest struct {
	ResourceName string `json:"resourceName" check:"required"`
}

// GetSetupHistoryResult has none.
type GetSetupHistoryResult struct {
	SetupHistory []None `json:"setupHistory"`
}
