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
	// Report has a signed report, and the fingerprint of the key that signed it.
	Report(ctx context.Context, who sigv4.Identity, form wire.ReportForm) (text []byte, key string, err error)
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

func (a *protocol) getMigrationReport(ctx context.Context, in *wire.GetMigrationReportRequest) (wire.GetMigrationReportResult, error) {
	if a.cfg.Migration == nil {
		return wire.GetMigrationReportResult{}, noMigration()
	}
	text, key, err := a.cfg.Migration.Report(ctx, api.Caller(ctx), in.Form)
	name := "migration-" + a.service.Region() + "-" + a.cfg.Now().UTC().Format("2006-01-02") + "." + string(in.Form)
	return wire.GetMigrationReportResult{FileName: name, Report: string(text), Key: key}, err
}

func noMigration() error {
	return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This process judges no instances: ask 'openimds migrate status'")
}
