package lightsail

import (
	"context"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func (a *protocol) signReport(ctx context.Context, in *wire.SignReportRequest) (wire.SignReportResult, error) {
	signature, err := a.service.SignReport(ctx, in.SHA256)
	return wire.SignReportResult{Signature: signature}, err
}

func (a *protocol) getReportKey(_ context.Context, _ *wire.Nothing) (wire.GetReportKeyResult, error) {
	key, err := a.service.ReportKey()
	return wire.GetReportKeyResult{PublicKey: key}, err
}

func (a *protocol) getOptionsHistory(ctx context.Context, in *wire.GetOptionsHistoryRequest) (wire.GetOptionsHistoryResult, error) {
	changes, since, err := a.service.OptionsHistory(ctx, in.InstanceName)
	result := wire.GetOptionsHistoryResult{Changes: []wire.OptionsChange{}, KnownSince: unlessZero(since)}
	for _, c := range changes {
		result.Changes = append(result.Changes, wire.OptionsChange{
			Time: awsjson.Epoch{Time: c.Time}, Who: c.Who, Operation: c.What, Before: showOptions(c.Before), After: showOptions(c.After), Rehearsal: c.Rehearsal,
		})
	}
	return result, err
}

func showOptions(o *openimds.MetadataOptions) *wire.MetadataOptions {
	if o == nil {
		return nil
	}
	return new(shownOptions(*o))
}
