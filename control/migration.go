package control

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Bounds of what is kept of migrations: so many plans, the latest that were heard of, and so many instances of those that
// were there before a new one; and so many instances of one plan.
const (
	maxMigrations   = 20
	maxMigratedKept = 100_000
	maxMigrated     = 100_000
	// migrationPart is how many instances a record has at most: a request may tell of one in each of as many records.
	migrationPart = openimds.MaxMigrationTold
)

var migrationForm = regexp.MustCompile(`^[0-9a-f]{32}$`)

// TellMigration keeps how far a plan is, and how far it is with some of its instances, as the command tells that carries
// it out: nothing is changed of an instance. It returns of how many instances is known how far they are, so that who tells
// finds out that something is missing. The audit has no word of a command that only says that it is still there.
//
// Errors: InvalidInput/UnknownValue, InvalidInput/OutOfRange, InvalidInput/TooMany, InvalidInput/Duplicate and
// InvalidInput/Incomplete for what is no plan, or more of one than is kept.
func (s *Service) TellMigration(ctx context.Context, run openimds.MigrationRun, instances []openimds.MigratedInstance) (known int, err error) {
	if err := checkMigration(&run, instances); err != nil {
		return 0, err
	}
	_, err = s.store.Get(ctx, records.MigrationKey(run.ID))
	if errors.Is(err, store.ErrNoRecord) {
		err = s.pruneMigrations(ctx)
	} else if err != nil {
		err = storeFailed(err)
	}
	if err != nil {
		return 0, err
	}
	_, err = s.commit(ctx, "TellMigration", func(d *draft) error {
		known, err = s.tellMigration(ctx, d, run, instances)
		return err
	})
	return known, err
}

func (s *Service) tellMigration(ctx context.Context, d *draft, run openimds.MigrationRun, instances []openimds.MigratedInstance) (known int, err error) {
	was, before, err := s.migration(ctx, run.ID)
	if err != nil {
		return 0, err
	}
	run.Told, run.HeardAt, run.Counts = actor(ctx), d.now, map[string]map[openimds.MigrationStep]int{}
	if before != nil {
		for wave, steps := range before.Counts {
			run.Counts[wave] = maps.Clone(steps)
		}
	}
	count := func(in openimds.MigratedInstance, n int) {
		wave := run.Wave(in.Wave)
		if run.Counts[wave] == nil {
			run.Counts[wave] = map[openimds.MigrationStep]int{}
		}
		if run.Counts[wave][in.Step] += n; run.Counts[wave][in.Step] <= 0 {
			delete(run.Counts[wave], in.Step)
		}
	}
	parts := map[int][]openimds.MigratedInstance{}
	for _, in := range instances {
		part := in.Place / migrationPart
		parts[part] = append(parts[part], in)
	}
	for _, number := range slices.Sorted(maps.Keys(parts)) {
		key := records.MigrationPartKey(run.ID, number)
		record, all, err := getOr[[]openimds.MigratedInstance](ctx, s.store, key)
		if err != nil {
			return 0, err
		}
		for _, in := range parts[number] {
			at, found := slices.BinarySearchFunc(all, in.Place, func(other openimds.MigratedInstance, place int) int { return cmp.Compare(other.Place, place) })
			if found {
				count(all[at], -1)
				all[at] = in
			} else {
				all = slices.Insert(all, at, in)
			}
			count(in, 1)
		}
		d.note(record, all)
	}
	if before != nil && onlyHeard(*before, run) {
		d.note(was, run)
	} else {
		d.put(was, run)
	}
	return run.Instances(), nil
}

// onlyHeard says that two records of a plan tell the same but when it was heard of.
func onlyHeard(before, now openimds.MigrationRun) bool {
	before.HeardAt = now.HeardAt
	was, err := records.Encode(before)
	is, errNow := records.Encode(now)
	return err == nil && errNow == nil && bytes.Equal(was, is)
}

// getOr reads a record that need not be there: the zero value then, and what a change of it has as its condition.
func getOr[T any](ctx context.Context, from store.Store, key string) (was store.Record, v T, err error) {
	was, err = from.Get(ctx, key)
	if errors.Is(err, store.ErrNoRecord) {
		return store.Record{Key: key, Revision: store.IfAbsent}, v, nil
	}
	if err != nil {
		return was, v, storeFailed(err)
	}
	v, err = read[T](was)
	return was, v, err
}

func (s *Service) migration(ctx context.Context, id string) (store.Record, *openimds.MigrationRun, error) {
	was, run, err := getOr[openimds.MigrationRun](ctx, s.store, records.MigrationKey(id))
	if err != nil || was.Revision == store.IfAbsent {
		return was, nil, err
	}
	return was, &run, nil
}

// Migrations are the plans of which "openimds migrate" has told how far they are, those first that were begun last.
func (s *Service) Migrations(ctx context.Context) ([]openimds.MigrationRun, error) {
	page, err := s.store.List(ctx, store.Range{Prefix: records.MigrationPrefix})
	if err != nil {
		return nil, storeFailed(err)
	}
	runs := make([]openimds.MigrationRun, 0, len(page.Records))
	for _, r := range page.Records {
		run, err := read[openimds.MigrationRun](r)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	slices.SortFunc(runs, func(a, b openimds.MigrationRun) int {
		return cmp.Or(b.BegunAt.Compare(a.BegunAt), cmp.Compare(a.ID, b.ID))
	})
	return runs, nil
}

// MigratedSearch says which instances of a plan are looked for.
type MigratedSearch struct {
	// Wave and Step are those that they are in; nil and empty: any. The empty wave has those of no wave that is listed.
	Wave *string
	Step openimds.MigrationStep
	// PageSize is up to [MaxSearchPage], and Page counts from 1.
	PageSize, Page int
}

// MigratedInstances returns one page of a plan's instances, in the plan's order, and how many are looked for in all.
//
// Errors: NotFound/DoesNotExist; InvalidInput/OutOfRange for the page or its size; InvalidInput/UnknownValue for the step.
func (s *Service) MigratedInstances(ctx context.Context, id string, q MigratedSearch) (found []openimds.MigratedInstance, total int, err error) {
	switch {
	case q.PageSize < 1 || q.PageSize > MaxSearchPage || q.Page < 1:
		return nil, 0, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A page has 1 to %d instances, and pages count from 1", MaxSearchPage)
	case q.Step != "" && !slices.Contains(openimds.MigrationSteps(), q.Step):
		return nil, 0, openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "The step of an instance must be one of %v, not %.60q", openimds.MigrationSteps(), q.Step)
	}
	_, run, err := s.migration(ctx, id)
	if err != nil {
		return nil, 0, err
	}
	if run == nil {
		return nil, 0, openimds.Errorf(openimds.NotFound, openimds.DoesNotExist, "There is no plan with the id %.100s", id)
	}
	first := (q.Page - 1) * q.PageSize
	for r := (store.Range{Prefix: records.MigrationParts(id), Limit: 20}); ; {
		page, err := s.store.List(ctx, r)
		if err != nil {
			return nil, 0, storeFailed(err)
		}
		for _, record := range page.Records {
			r.After = record.Key
			all, err := read[[]openimds.MigratedInstance](record)
			if err != nil {
				return nil, 0, err
			}
			for _, in := range all {
				if q.Wave != nil && run.Wave(in.Wave) != *q.Wave || q.Step != "" && in.Step != q.Step {
					continue
				}
				if total >= first && len(found) < q.PageSize {
					found = append(found, in)
				}
				total++
			}
		}
		if !page.More {
			return found, total, nil
		}
	}
}

// pruneMigrations makes room for another plan: those that were not heard of for longest are forgotten. Their instances go
// first, so that what is interrupted is gone on with.
func (s *Service) pruneMigrations(ctx context.Context) error {
	runs, err := s.Migrations(ctx)
	if err != nil {
		return err
	}
	slices.SortFunc(runs, func(a, b openimds.MigrationRun) int { return b.HeardAt.Compare(a.HeardAt) })
	instances := 0
	for i, run := range runs {
		if instances += run.Instances(); i < maxMigrations-1 && instances <= maxMigratedKept {
			continue
		}
		if err := s.forgetMigration(ctx, run.ID); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) forgetMigration(ctx context.Context, id string) error {
	const batch = 50
	for {
		page, err := s.store.List(ctx, store.Range{Prefix: records.MigrationParts(id), KeysOnly: true, Limit: batch})
		if err != nil {
			return storeFailed(err)
		}
		var changes []store.Change
		for _, r := range page.Records {
			changes = append(changes, store.Change{Verb: store.Delete, Key: r.Key, If: store.Whatever})
		}
		if !page.More {
			changes = append(changes, store.Change{Verb: store.Delete, Key: records.MigrationKey(id), If: store.Whatever})
		}
		if _, err := s.store.Commit(ctx, changes...); err != nil {
			return storeFailed(err)
		}
		if !page.More {
			return nil
		}
	}
}

// checkMigration refuses what is no plan, or more of one than is kept.
func checkMigration(run *openimds.MigrationRun, instances []openimds.MigratedInstance) error {
	switch {
	case !migrationForm.MatchString(run.ID):
		return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The id of a plan must be 32 small hexadecimal digits, not %.100q", run.ID)
	case !slices.Contains(openimds.MigrationStates(), run.State):
		return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "The state of a plan must be one of %v, not %.60q", openimds.MigrationStates(), run.State)
	case len(run.Waves) > openimds.MaxMigrationList || len(run.Exceptions) > openimds.MaxMigrationList:
		return openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "Of a plan are told at most %d waves and %d exceptions", openimds.MaxMigrationList, openimds.MaxMigrationList)
	case run.MoreExceptions < 0:
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "There are no fewer than no exceptions")
	case len(instances) > openimds.MaxMigrationTold:
		return openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "A request tells of at most %d instances, not of %d", openimds.MaxMigrationTold, len(instances))
	}
	texts, err := checkWaves(run.Waves)
	if err != nil {
		return err
	}
	for _, e := range run.Exceptions {
		if most := openimds.MaxMigrationNames; len(e.Names) > most || len(e.Tags) > most {
			return openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "Of an exception are told at most %d names and %d tags", most, most)
		}
		texts = append(slices.Concat(texts, e.Names, e.Tags), e.UserAgent, e.Source, e.Owner, e.Reason)
	}
	texts, all := append(texts, run.Plan, run.By, run.Reason), 0
	for _, text := range texts {
		all += len(text)
	}
	if all > openimds.MaxMigrationTexts {
		return openimds.Errorf(openimds.InvalidInput, openimds.TooLarge, "All texts of a plan have at most %d bytes, not %d", openimds.MaxMigrationTexts, all)
	}
	more, err := checkMigrated(instances)
	if err != nil {
		return err
	}
	for _, text := range slices.Concat(texts, more) {
		if len(text) > openimds.MaxMigrationText {
			return openimds.Errorf(openimds.InvalidInput, openimds.TooLarge, "A text of a plan has at most %d bytes, not %d", openimds.MaxMigrationText, len(text))
		}
	}
	return nil
}

func checkWaves(waves []openimds.MigrationWave) (texts []string, err error) {
	names := map[string]bool{}
	for _, w := range waves {
		switch {
		case w.Name == "":
			return nil, openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "Each wave must have a name")
		case names[w.Name]:
			return nil, openimds.Errorf(openimds.InvalidInput, openimds.Duplicate, "The wave %.100q is told twice", w.Name)
		case w.Hold < 0:
			return nil, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A wave cannot be watched for less than no time")
		}
		names[w.Name] = true
		texts = append(texts, w.Name)
	}
	return texts, nil
}

func checkMigrated(instances []openimds.MigratedInstance) (texts []string, err error) {
	places := map[int]bool{}
	for _, in := range instances {
		if err := openimds.ValidateName(in.Name); err != nil {
			return nil, err
		}
		switch {
		case in.Place < 0 || in.Place >= maxMigrated:
			return nil, openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "The place of an instance must be from 0 to %d, not %d", maxMigrated-1, in.Place)
		case places[in.Place]:
			return nil, openimds.Errorf(openimds.InvalidInput, openimds.Duplicate, "The place %d is told twice", in.Place)
		case !slices.Contains(openimds.MigrationSteps(), in.Step):
			return nil, openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "The step of an instance must be one of %v, not %.60q", openimds.MigrationSteps(), in.Step)
		}
		places[in.Place] = true
		texts = append(texts, in.Wave, in.Reason, in.Owner)
	}
	return texts, nil
}
