package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// The operations.
var (
	GetOperation             = looks[GetOperationRequest, OperationResult](lightsail + "GetOperation")
	GetOperations            = looks[PageRequest, GetOperationsResult](lightsail + "GetOperations")
	GetOperationsForResource = looks[GetOperationsForResourceRequest, GetOperationsResult](lightsail + "GetOperationsForResource")
)

// Operation is how the API shows an operation.
type Operation struct {
	ID               string        `json:"id"`
	ResourceName     string        `json:"resourceName"`
	ResourceType     string        `json:"resourceType"`
	CreatedAt        awsjson.Epoch `json:"createdAt"`
	Location         Location      `json:"location"`
	IsTerminal       bool          `json:"isTerminal"`
	OperationDetails string        `json:"operationDetails,omitempty"`
	OperationType    string        `json:"operationType"`
	Status           string        `json:"status"`
	StatusChangedAt  awsjson.Epoch `json:"statusChangedAt"`
	ErrorCode        string        `json:"errorCode,omitempty"`
	ErrorDetails     string        `json:"errorDetails,omitempty"`
}

// Location is where a resource is.
type Location struct {
	AvailabilityZone string `json:"availabilityZone"`
	RegionName       string `json:"regionName"`
}

// Changed is the answer of a change.
type Changed interface {
	// Made are the operations that it made.
	Made() []Operation
}

// OperationResult is the answer of operations on one resource in one step.
type OperationResult struct {
	Operation Operation `json:"operation"`
}

// Made is [Changed].
func (r OperationResult) Made() []Operation { return []Operation{r.Operation} }

// OperationsResult is the answer of most changes.
type OperationsResult struct {
	Operations []Operation `json:"operations"`
}

// Made is [Changed].
func (r OperationsResult) Made() []Operation { return r.Operations }

// GetOperationRequest asks for one operation.
type GetOperationRequest struct {
	OperationID NonEmpty `json:"operationId" check:"required"`
}

// GetOperationsResult is a page of operations, the latest first.
type GetOperationsResult struct {
	Operations    []Operation `json:"operations"`
	NextPageToken string      `json:"nextPageToken,omitempty"`
}

// GetOperationsForResourceRequest asks for the operations on what has, or had, the name.
type GetOperationsForResourceRequest struct {
	ResourceName string `json:"resourceName" check:"required"`
	PageToken    string `json:"pageToken,omitzero"`
}
