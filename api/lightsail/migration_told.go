package lightsail

import (
	"context"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

func (a *protocol) tellMigration(ctx context.Context, in *wire.TellMigrationRequest) (wire.TellMigrationResult, error) {
	run := openimds.MigrationRun{
		ID: in.MigrationID, Plan: in.Plan, By: in.BegunBy, BegunAt: in.BegunAt.UTC(), State: openimds.MigrationState(in.State), Reason: in.Reason,
		StepAt: in.StepAt.UTC(), Waves: []openimds.MigrationWave{}, Exceptions: []openimds.MigrationException{}, MoreExceptions: in.MoreExceptions,
	}
	for _, w := range in.Waves {
		run.Waves = append(run.Waves, openimds.MigrationWave{
			Name: w.Name, Hold: time.Duration(w.HoldSeconds) * time.Second, BegunAt: w.BegunAt.OrZero().UTC(), HeldUntil: w.HeldUntil.OrZero().UTC(), HeldAt: w.HeldAt.OrZero().UTC(),
		})
	}
	for _, e := range in.Exceptions {
		run.Exceptions = append(run.Exceptions, openimds.MigrationException{
			Names: e.Names, Tags: e.Tags, UserAgent: e.UserAgent, Source: e.Source, Owner: e.Owner, Reason: e.Reason, Until: e.Until.UTC(),
		})
	}
	var instances []openimds.MigratedInstance
	for _, one := range in.Instances {
		instances = append(instances, openimds.MigratedInstance{
			Place: one.Place, Name: one.InstanceName, Wave: one.Wave, Step: openimds.MigrationStep(one.Step), At: one.At.OrZero().UTC(),
			Reason: one.Reason, Owner: one.Owner, Until: one.Until.OrZero().UTC(),
		})
	}
	known, err := a.service.TellMigration(ctx, run, instances)
	return wire.TellMigrationResult{Instances: known}, err
}

func (a *protocol) getMigrations(ctx context.Context, _ *wire.Nothing) (wire.GetMigrationsResult, error) {
	now := a.cfg.Now()
	result := wire.GetMigrationsResult{Time: awsjson.Epoch{Time: now}, Migrations: []wire.Migration{}}
	runs, err := a.service.Migrations(ctx)
	for _, run := range runs {
		result.Migrations = append(result.Migrations, showMigration(&run, now))
	}
	return result, err
}

func showMigration(run *openimds.MigrationRun, now time.Time) wire.Migration {
	shown := wire.Migration{
		MigrationID: run.ID, Plan: run.Plan, BegunBy: run.By, BegunAt: awsjson.Epoch{Time: run.BegunAt}, State: wire.MigrationState(run.State), Reason: run.Reason,
		StepAt: awsjson.Epoch{Time: run.StepAt}, HeardAt: awsjson.Epoch{Time: run.HeardAt}, ToldBy: run.Told, Silent: run.Silent(now),
		Waves: []wire.MigrationWave{}, Exceptions: []wire.MigrationException{}, MoreExceptions: run.MoreExceptions, Counts: map[string]map[string]int{},
	}
	for _, w := range run.Waves {
		shown.Waves = append(shown.Waves, wire.MigrationWave{
			Name: w.Name, HoldSeconds: int(w.Hold / time.Second), BegunAt: unlessZero(w.BegunAt), HeldUntil: unlessZero(w.HeldUntil), HeldAt: unlessZero(w.HeldAt),
		})
	}
	for _, e := range run.Exceptions {
		shown.Exceptions = append(shown.Exceptions, wire.MigrationException{
			Names: e.Names, Tags: e.Tags, UserAgent: e.UserAgent, Source: e.Source, Owner: e.Owner, Reason: e.Reason, Until: awsjson.At(e.Until),
		})
	}
	for wave, steps := range run.Counts {
		shown.Counts[wave] = map[string]int{}
		for step, n := range steps {
			shown.Counts[wave][string(step)] = n
		}
	}
	return shown
}

func (a *protocol) getMigratedInstances(ctx context.Context, in *wire.GetMigratedInstancesRequest) (wire.GetMigratedInstancesResult, error) {
	q := control.MigratedSearch{Wave: in.Wave, Step: openimds.MigrationStep(in.Step), PageSize: searchPage, Page: 1}
	if in.PageSize != nil {
		q.PageSize = *in.PageSize
	}
	if in.Page != nil {
		q.Page = *in.Page
	}
	result := wire.GetMigratedInstancesResult{Instances: []wire.MigratedInstance{}}
	found, total, err := a.service.MigratedInstances(ctx, in.MigrationID, q)
	if err != nil {
		return result, err
	}
	for _, one := range found {
		result.Instances = append(result.Instances, wire.MigratedInstance{
			Place: one.Place, InstanceName: one.Name, Wave: one.Wave, Step: wire.MigrationStep(one.Step), At: unlessZero(one.At),
			Reason: one.Reason, Owner: one.Owner, Until: unlessZero(one.Until),
		})
	}
	result.Total, result.Pages = total, (total+q.PageSize-1)/q.PageSize
	return result, nil
}
