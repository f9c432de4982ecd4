package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// everywhere is the location of what belongs to a whole region.
func (a *protocol) everywhere() wire.Location {
	return wire.Location{AvailabilityZone: openimds.EverywhereZone, RegionName: a.service.Region()}
}

func (a *protocol) operation(op openimds.Operation) wire.Operation {
	shown := wire.Operation{
		ID: op.ID, ResourceName: op.Resource, ResourceType: string(op.ResourceType), CreatedAt: awsjson.Epoch{Time: op.CreatedAt},
		Location: wire.Location{AvailabilityZone: op.Zone, RegionName: a.service.Region()}, IsTerminal: op.Terminal(), OperationDetails: op.Details,
		OperationType: op.Type, Status: string(op.Status), StatusChangedAt: awsjson.Epoch{Time: op.StatusChangedAt}, ErrorDetails: op.ErrorDetails,
	}
	if op.Status == openimds.OperationFailed {
		shown.ErrorCode = "OperationFailure"
	}
	return shown
}

func (a *protocol) operations(ops []openimds.Operation) []wire.Operation {
	shown := make([]wire.Operation, 0, len(ops))
	for _, op := range ops {
		shown = append(shown, a.operation(op))
	}
	return shown
}

// one shows the operation that a change made.
func (a *protocol) one(op openimds.Operation, err error) (wire.OperationResult, error) {
	return wire.OperationResult{Operation: a.operation(op)}, err
}

// many shows the operations that a change made.
func (a *protocol) many(ops []openimds.Operation, err error) (wire.OperationsResult, error) {
	return wire.OperationsResult{Operations: a.operations(ops)}, err
}

func (a *protocol) getOperation(ctx context.Context, in *wire.GetOperationRequest) (wire.OperationResult, error) {
	return a.one(a.service.Operation(ctx, string(in.OperationID)))
}

// getOperations shows the latest first, as recorded answers do, though AWS's text says otherwise.
func (a *protocol) getOperations(ctx context.Context, in *wire.PageRequest) (wire.GetOperationsResult, error) {
	list := a.list("GetOperations")
	after, err := api.PagePlace(list, in.PageToken)
	if err != nil {
		return wire.GetOperationsResult{}, err
	}
	ops, next, err := a.service.Operations(ctx, after, pageSize)
	return wire.GetOperationsResult{Operations: a.operations(ops), NextPageToken: api.PageToken(list, next)}, err
}

func (a *protocol) getOperationsForResource(ctx context.Context, in *wire.GetOperationsForResourceRequest) (wire.GetOperationsResult, error) {
	list := a.list("GetOperationsForResource", in.ResourceName)
	after, err := api.PagePlace(list, in.PageToken)
	if err != nil {
		return wire.GetOperationsResult{}, err
	}
	ops, next, err := a.service.OperationsOf(ctx, in.ResourceName, after, pageSize)
	return wire.GetOperationsResult{Operations: a.operations(ops), NextPageToken: api.PageToken(list, next)}, err
}
