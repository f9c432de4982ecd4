package lightsail

import (
	"context"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/api/sigv4"
)

// Migration tells how far instances are from IMDSv1 to v2, by the operations of this API, called as whoever asked.
type Migration interface {
	// Verdicts judges instances by their names, those left out that are not there, by a window up to now.
	Verdicts(ctx context.Context, who sigv4.Identity, names []string, window time.Duration) ([]wire.MigrationVerdict, error)
	// MakeReport begins to make a report, and Report tells how far it is and has a part of it.
	MakeReport(ctx context.Context, who sigv4.Identity, form wire.ReportForm) (id string, err error)
	Report(ctx context.Context, who sigv4.Identity, id string, from int64) (wire.GetMigrationReportResult, error)
}

const (
	// judgedWindow is how far back it is looked unless it is said: as long as Lightsail keeps metrics.
	judgedWindow = 14 * 24 * time.Hour
	judgedMost   = 50 // instances of one request
)

func (a *protocol) getMigrationVerdicts(ctx context.Context, in *wire.GetMigrationVerdictsRequest) (wire.GetMigrationVerdictsResult, error) {
	window := judgedWindow
	if in.WindowSeconds != nil {
		window = time.Duration(*in.WindowSeconds) * time.Second // 32 bits are read
	}
	result := wire.GetMigrationVerdictsResult{WindowSeconds: int(window / time.Second)}
	switch n := len(in.InstanceNames); {
	case a.cfg.Migration == nil:
		return result, noMigration()
	case n < 1 || n > judgedMost:
		return result, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A request is of 1 to %d instances, not of %d", judgedMost, n)
	case window < time.Hour || window > openimds.FleetKept:
		return result, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A window is of an hour to %d days", openimds.FleetKept/(24*time.Hour))
	}
	var err error
	if result.Verdicts, err = a.cfg.Migration.Verdicts(ctx, api.Caller(ctx), in.InstanceNames, window); err != nil {
		return result, err
	}
	for i := range result.Verdicts {
		v := &result.Verdicts[i]
		if found, err := a.service.Instance(ctx, v.InstanceName); err == nil { // else it is gone since
			v.Rehearsal = a.rehearsal(found)
		}
	}
	return result, nil
}

func (a *protocol) makeMigrationReport(ctx context.Context, in *wire.MakeMigrationReportRequest) (result wire.MakeMigrationReportResult, err error) {
	if a.cfg.Migration == nil {
		return result, noMigration()
	}
	result.ReportID, err = a.cfg.Migration.MakeReport(ctx, api.Caller(ctx), in.Form)
	return result, err
}

func (a *protocol) getMigrationReport(ctx context.Context, in *wire.GetMigrationReportRequest) (wire.GetMigrationReportResult, error) {
	if a.cfg.Migration == nil {
		return wire.GetMigrationReportResult{}, noMigration()
	}
	if in.From < 0 {
		return wire.GetMigrationReportResult{}, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A report has no bytes before its first one")
	}
	return a.cfg.Migration.Report(ctx, api.Caller(ctx), in.ReportID, int64(in.From))
}

func noMigration() error {
	return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This process judges no instances: ask 'openimds migrate status'")
}
