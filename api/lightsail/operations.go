package lightsail

import (
	"context"

	"github.com/openimds/openimds"
)

// operation is how the API shows an operation.
type operation struct {
	ID               string   `json:"id"`
	ResourceName     string   `json:"resourceName"`
	ResourceType     string   `json:"resourceType"`
	CreatedAt        epoch    `json:"createdAt"`
	Location         location `json:"location"`
	IsTerminal       bool     `json:"isTerminal"`
	OperationDetails string   `json:"operationDetails,omitempty"`
	OperationType    string   `json:"operationType"`
	Status           string   `json:"status"`
	StatusChangedAt  epoch    `json:"statusChangedAt"`
	ErrorCode        string   `json:"errorCode,omitempty"`
	ErrorDetails     string   `json:"errorDetails,omitempty"`
}

type location struct {
	AvailabilityZone string `json:"availabilityZone"`
	RegionName       string `json:"regionName"`
}

// everywhere is the location of what belongs to a whole region.
func (a *api) everywhere() location {
	return location{openimds.EverywhereZone, a.service.Region()}
}

func (a *api) operation(op openimds.Operation) operation {
	shown := operation{
		ID: op.ID, ResourceName: op.Resource, ResourceType: string(op.ResourceType), CreatedAt: epoch{op.CreatedAt},
		Location: location{op.Zone, a.service.Region()}, IsTerminal: op.Terminal(), OperationDetails: op.Details,
		OperationType: op.Type, Status: string(op.Status), StatusChangedAt: epoch{op.StatusChangedAt}, ErrorDetails: op.ErrorDetails,
	}
	if op.Status == openimds.OperationFailed {
		shown.ErrorCode = "OperationFailure"
	}
	return shown
}

func (a *api) operations(ops []openimds.Operation) []operation {
	shown := make([]operation, 0, len(ops))
	for _, op := range ops {
		shown = append(shown, a.operation(op))
	}
	return shown
}

// operationResult is the answer of operations on one resource in one step.
type operationResult struct {
	Operation operation `json:"operation"`
}

// one shows the operation that a change made.
func (a *api) one(op openimds.Operation, err error) (operationResult, error) {
	return operationResult{a.operation(op)}, err
}

// operationsResult is the answer of most changes.
type operationsResult struct {
	Operations []operation `json:"operations"`
}

// many shows the operations that a change made.
func (a *api) many(ops []openimds.Operation, err error) (operationsResult, error) {
	return operationsResult{a.operations(ops)}, err
}

type getOperationRequest struct {
	OperationID nonEmpty `json:"operationId" check:"required"`
}

func (a *api) getOperation(ctx context.Context, in *getOperationRequest) (operationResult, error) {
	return a.one(a.service.Operation(ctx, string(in.OperationID)))
}

// pageRequest asks for a page of a list, from its beginning if it has no token.
type pageRequest struct {
	PageToken string `json:"pageToken"`
}

type getOperationsResult struct {
	Operations    []operation `json:"operations"`
	NextPageToken string      `json:"nextPageToken,omitempty"`
}

// getOperations shows the latest first, as recorded answers do, though AWS's text says otherwise.
func (a *api) getOperations(ctx context.Context, in *pageRequest) (getOperationsResult, error) {
	const list = "GetOperations"
	after, err := pagePlace(list, in.PageToken)
	if err != nil {
		return getOperationsResult{}, err
	}
	ops, next, err := a.service.Operations(ctx, after, pageSize)
	return getOperationsResult{a.operations(ops), pageToken(list, next)}, err
}

type getOperationsForResourceRequest struct {
	ResourceName string `json:"resourceName" check:"required"`
	PageToken    string `json:"pageToken"`
}

func (a *api) getOperationsForResource(ctx context.Context, in *getOperationsForResourceRequest) (getOperationsResult, error) {
	list := "GetOperationsForResource/" + in.ResourceName
	after, err := pagePlace(list, in.PageToken)
	if err != nil {
		return getOperationsResult{}, err
	}
	ops, next, err := a.service.OperationsOf(ctx, in.ResourceName, after, pageSize)
	return getOperationsResult{a.operations(ops), pageToken(list, next)}, err
}
