package control_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

func aMigration(n int) openimds.MigrationRun {
	return openimds.MigrationRun{
		ID: fmt.Sprintf("%032x", n), Plan: "plan.yaml", By: "ann@desk", BegunAt: start.Add(time.Duration(n) * time.Minute), State: openimds.MigrationRunning, StepAt: start,
		Waves: []openimds.MigrationWave{{Name: "canary", Hold: time.Minute}, {Name: "rest", Hold: time.Hour}},
	}
}

// migrated are instances of a plan at those places, all as far as that.
func migrated(step openimds.MigrationStep, wave string, places ...int) (all []openimds.MigratedInstance) {
	for _, place := range places {
		all = append(all, openimds.MigratedInstance{Place: place, Name: fmt.Sprintf("web-%d", place), Wave: wave, Step: step, At: start})
	}
	return all
}

func (f *fixture) tell(run openimds.MigrationRun, instances ...openimds.MigratedInstance) (known int) {
	f.t.Helper()
	known, err := f.TellMigration(control.WithActor(f.t.Context(), "AKID"), run, instances)
	if err != nil {
		f.t.Fatal(err)
	}
	return known
}

func (f *fixture) migrations() []openimds.MigrationRun {
	f.t.Helper()
	runs, err := f.Migrations(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	return runs
}

func countsOf(run openimds.MigrationRun) string { return fmt.Sprint(run.Counts) }

// What is told of instances adds up by wave, however often and in whatever order it is told; a command that only says that it
// is there leaves no line in the audit, and one that does not say it is silent.
func TestTellMigration(t *testing.T) {
	f := newFixture(t, nil)
	run := aMigration(1)
	var places []int
	for place := range openimds.MaxMigrationTold { // in a record of its own each
		places = append(places, place*openimds.MaxMigrationTold)
	}
	if known := f.tell(run, migrated(openimds.MigrationWaiting, "rest", places...)...); known != len(places) {
		t.Errorf("%d instances are known", known)
	}
	f.tell(run, migrated(openimds.MigrationRequired, "canary", 3, 1)...)
	f.tell(run, migrated(openimds.MigrationReturned, "canary", 1)...)
	if known := f.tell(run, migrated(openimds.MigrationHadBack, "of an earlier plan", 2)...); known != len(places)+3 {
		t.Errorf("%d instances are known", known)
	}
	if told := f.audit(); len(told) != 4 || told[0].What != "TellMigration" || told[0].Who != "AKID" || told[0].Resource != "migration/"+run.ID {
		t.Errorf("audit: %+v", told)
	}
	f.sleep(openimds.MigrationHeartbeat)
	f.tell(run)
	if told := f.audit(); len(told) != 0 {
		t.Errorf("audit of a command that is still there: %+v", told)
	}
	all := f.migrations()
	const want = "map[:map[undone:1] canary:map[required:1 returned:1] rest:map[waiting:32]]"
	if len(all) != 1 || countsOf(all[0]) != want || all[0].Told != "AKID" || f.clock().Sub(all[0].HeardAt) > time.Second || all[0].Silent(f.clock()) {
		t.Errorf("%+v", all)
	}
	f.sleep(openimds.MigrationSilence + time.Second)
	if !all[0].Silent(f.clock()) {
		t.Error("it is taken to be at work although nothing is heard of it")
	}
	run.State = openimds.MigrationStopped
	f.tell(run)
	f.sleep(time.Hour)
	if all = f.migrations(); all[0].Silent(f.clock()) || len(f.audit()) != 1 {
		t.Errorf("of a plan that has stopped nothing more is to be heard: %+v", all)
	}
	for _, tt := range []struct {
		wave  *string
		step  openimds.MigrationStep
		page  int
		want  string
		total int
	}{
		{nil, "", 1, "[web-0 web-1]", 35}, {nil, "", 2, "[web-2 web-3]", 35}, {nil, "", 18, "[web-992]", 35}, {nil, "", 19, "[]", 35},
		{new("canary"), "", 1, "[web-1 web-3]", 2}, {new("canary"), openimds.MigrationReturned, 1, "[web-1]", 1},
		{new(""), "", 1, "[web-2]", 1}, {new("rest"), "", 16, "[web-960 web-992]", 32}, {nil, openimds.MigrationRequired, 1, "[web-3]", 1},
	} {
		found, total, err := f.MigratedInstances(t.Context(), run.ID, control.MigratedSearch{Wave: tt.wave, Step: tt.step, Page: tt.page, PageSize: 2})
		names := []string{}
		for _, in := range found {
			names = append(names, in.Name)
		}
		if err != nil || fmt.Sprint(names) != tt.want || total != tt.total {
			t.Errorf("%+v: %v of %d, %v", tt, names, total, err)
		}
	}
}

// Only the latest plans are kept, with no record of the others left, and none is forgotten for one that is heard of again.
func TestMigrationsAreForgotten(t *testing.T) {
	f := newFixture(t, nil)
	for n := range 25 {
		f.tell(aMigration(n), migrated(openimds.MigrationWaiting, "rest", 0, 40, 4000)...)
		f.tell(aMigration(0)) // which began first and is still under way
	}
	var left []string
	for _, run := range f.migrations() {
		left = append(left, strings.TrimLeft(run.ID, "0"))
	}
	if got := strings.Join(left, " "); got != "18 17 16 15 14 13 12 11 10 f e d c b a 9 8 7 6 " {
		t.Errorf("left are %s", got)
	}
	page, err := f.store.List(t.Context(), store.Range{Prefix: records.MigrationPartPrefix, KeysOnly: true})
	if err != nil || len(page.Records) != 20*3 {
		t.Errorf("%d records of instances are left, %v", len(page.Records), err)
	}
	if known := f.tell(aMigration(3), migrated(openimds.MigrationRequired, "rest", 0)...); known != 1 {
		t.Errorf("of a plan that was forgotten, %d instances are known", known)
	}
	// A plan of many instances leaves room for few others.
	large := aMigration(30)
	f.tell(large)
	large.HeardAt, large.Counts = f.clock(), map[string]map[openimds.MigrationStep]int{"rest": {openimds.MigrationRequired: 99_997}}
	value, err := records.Encode(large)
	if err == nil {
		_, err = f.store.Commit(t.Context(), store.Change{Key: records.MigrationKey(large.ID), Value: value, If: store.Whatever})
	}
	if err != nil {
		t.Fatal(err)
	}
	f.tell(aMigration(31))
	if all := f.migrations(); len(all) != 3 || all[0].Instances() != 0 || all[1].Instances() != 99_997 || all[2].Instances() != 1 {
		t.Errorf("beside a large plan there are %+v", all)
	}
}

func TestTellMigrationRefuses(t *testing.T) {
	f := newFixture(t, nil)
	long := strings.Repeat("a", openimds.MaxMigrationText+1)
	in := migrated(openimds.MigrationWaiting, "canary", 1)[0]
	for _, tt := range []struct {
		code    openimds.Code
		message string
		with    func(*openimds.MigrationRun, *[]openimds.MigratedInstance)
	}{
		{openimds.Malformed, "The id of a plan", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) { r.ID = "../../" + r.ID[6:] }},
		{openimds.UnknownValue, "The state of a plan", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) { r.State = "well" }},
		{openimds.TooLarge, "A text of a plan", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) { r.Plan = long }},
		{openimds.TooLarge, "A text of a plan", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) { r.Waves[0].Name = long }},
		{openimds.OutOfRange, "A wave cannot", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) { r.Waves[0].Hold = -1 }},
		{openimds.Duplicate, "The wave", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) { r.Waves[1].Name = r.Waves[0].Name }},
		{openimds.Incomplete, "Each wave", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) { r.Waves[1].Name = "" }},
		{openimds.OutOfRange, "There are no fewer", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) { r.MoreExceptions = -1 }},
		{openimds.TooMany, "Of a plan", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) {
			r.Exceptions = make([]openimds.MigrationException, openimds.MaxMigrationList+1)
		}},
		{openimds.TooMany, "Of an exception", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) {
			r.Exceptions = []openimds.MigrationException{{Tags: make([]string, openimds.MaxMigrationNames+1)}}
		}},
		{openimds.TooLarge, "All texts", func(r *openimds.MigrationRun, _ *[]openimds.MigratedInstance) {
			e := openimds.MigrationException{Names: slices.Repeat([]string{long[1:]}, openimds.MaxMigrationNames)}
			r.Exceptions = slices.Repeat([]openimds.MigrationException{e}, 11)
		}},
		{openimds.TooMany, "A request", func(_ *openimds.MigrationRun, all *[]openimds.MigratedInstance) {
			*all = slices.Repeat(*all, openimds.MaxMigrationTold+1)
		}},
		{openimds.Duplicate, "The place", func(_ *openimds.MigrationRun, all *[]openimds.MigratedInstance) { *all = slices.Repeat(*all, 2) }},
		{openimds.OutOfRange, "The place", func(_ *openimds.MigrationRun, all *[]openimds.MigratedInstance) { (*all)[0].Place = 100_000 }},
		{openimds.OutOfRange, "The place", func(_ *openimds.MigrationRun, all *[]openimds.MigratedInstance) { (*all)[0].Place = -1 }},
		{openimds.UnknownValue, "The step", func(_ *openimds.MigrationRun, all *[]openimds.MigratedInstance) { (*all)[0].Step = "" }},
		{openimds.Malformed, "a/b is not", func(_ *openimds.MigrationRun, all *[]openimds.MigratedInstance) { (*all)[0].Name = "a/b" }},
		{openimds.TooLarge, "A text", func(_ *openimds.MigrationRun, all *[]openimds.MigratedInstance) { (*all)[0].Reason = long }},
	} {
		run, all := aMigration(1), []openimds.MigratedInstance{in}
		tt.with(&run, &all)
		_, err := f.TellMigration(t.Context(), run, all)
		if openimds.CodeOf(err) != tt.code || !strings.Contains(fmt.Sprint(err), tt.message) {
			t.Errorf("%s %s: %v", tt.code, tt.message, err)
		}
	}
	if len(f.migrations()) != 0 || len(f.audit()) != 0 {
		t.Error("what was refused was kept")
	}
	_, _, err := f.MigratedInstances(t.Context(), aMigration(1).ID, control.MigratedSearch{Page: 1, PageSize: 1})
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "There is no plan with the id "+aMigration(1).ID)
}
