package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// callers call by version 1: one every 2 seconds, one every 40, one at each boot.
func (f *fleet) callers(often, seldom, boot string) {
	f.every(2*time.Second, func() { f.guests[often].call(f.t, "curl/7.1") })
	f.every(40*time.Second, func() { f.guests[seldom].call(f.t, "curl/7.1") })
	f.every(50*time.Second, func() {
		if _, err := f.service.RebootInstance(f.ctx, boot); err == nil {
			f.guests[boot].call(f.t, "cloud-init/18")
		}
	})
}

// Of 200 instances three have callers of version 1. They are brought back within 2 seconds of a refusal, each
// stop is gone on from, and in the end all others are required and nothing else was touched.
func TestRequireTwoHundred(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 200 {
			names = append(names, fmt.Sprintf("web-%d", i))
		}
		f := newFleet(t, names...)
		before := f.options()
		f.callers("web-7", "web-77", "web-177")
		plan := aPlan(t, "hold: 65s\nwaves:\n  - name: canary\n    names: [web-1, web-77]\n  - name: half\n    names: ['web-*']\n    share: 50%\n  - name: rest\n    rest: true\n")
		journal := journalIn(t)
		run, done := aRun(t, f.provider(), journal)
		err := run.Apply(t.Context(), plan)
		stops := 0
		for ; errors.Is(err, ErrStopped); stops++ {
			done()
			run, done = aRun(t, f.provider(), journal)
			err = run.Resume(t.Context())
		}
		done()
		if err != nil || stops == 0 || stops > 3 {
			t.Errorf("%v after %d stops", err, stops)
		}
		returned := map[string]bool{"web-7": true, "web-77": true, "web-177": true}
		for name, now := range f.options() {
			want := before[name].With(required)
			if returned[name] {
				want = before[name]
			}
			if now != want {
				t.Errorf("%s: %s; want %s", name, now, want)
			}
		}
		all, err := ReadJournal(journal)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range all {
			switch {
			case r.Kind == Returned && !returned[r.Instance.Name]:
				t.Errorf("%s was brought back", r.Instance)
			case r.Kind == Returned:
				first := run.state.Of(*r.Instance).Refusals[0]
				if took := r.Time.Sub(first.Time); took > 2*time.Second || took < 0 || first.Caller == nil {
					t.Errorf("%s was brought back %s after %+v", r.Instance, took, first)
				}
				delete(returned, r.Instance.Name)
			}
		}
		if len(returned) > 0 {
			t.Errorf("not brought back: %v", returned)
		}
	})
}

// What is refused by the plan's terms is left, and why is written down.
func TestLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "calls", "excepted", "done", "fine", "unserved")
		f.set("done", openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)})
		time.Sleep(time.Minute)
		f.guests["calls"].call(t, "curl/7.1")
		if _, err := f.service.StopInstance(t.Context(), "unserved"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		plan, err := ParsePlan([]byte("plan: 1\nprovider: openimds\ncriteria: {window: 20m}\nhold: 1m\nwaves: [{name: all, rest: true}]\nexceptions:\n" +
			"  - {names: [exc*], owner: ops, until: " + time.Now().AddDate(0, 0, 1).Format(time.DateOnly) + "}\n"))
		if err != nil {
			t.Fatal(err)
		}
		journal := journalIn(t)
		f.guests["calls"].call(t, "curl/7.1")
		run, done := aRun(t, f.provider(), journal)
		if err := run.Apply(t.Context(), plan); err != nil {
			t.Error(err)
		}
		done()
		for name, want := range map[string]string{
			"calls": "not yet: 1 call without a token since", "excepted": "exception of ops until",
			"done": "done: tokens are required", "unserved": "unknown: nothing was counted",
		} {
			if got := kinds(t, journal, name) + ": " + reason(t, journal, name); !strings.HasPrefix(got, "skipped: "+want) {
				t.Errorf("%s: %s; want %s", name, got, want)
			}
		}
		if got := kinds(t, journal, "fine"); got != "requiring, required" {
			t.Errorf("fine: %s", got)
		}
		if got := kinds(t, journal, ""); got != "began, wave began, wave held, finished" {
			t.Errorf("the plan: %s", got)
		}
	})
}

// A caller that an exception puts up with may be refused; when the exception has ended, it is one like others.
func TestExceptionOfACaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "web")
		until := time.Now().Add(10 * time.Minute)
		plan := aPlan(t, "hold: 20m\nwaves: [{name: all, rest: true}]\nexceptions:\n  - {names: [web], user-agent: 'curl/*', owner: ops, until: '"+until.Format(time.RFC3339)+"'}\n")
		f.every(90*time.Second, func() { f.guests["web"].call(t, "curl/7.1") })
		journal := journalIn(t)
		run, done := aRun(t, f.provider(), journal)
		err := run.Apply(t.Context(), plan)
		done()
		if got := kinds(t, journal, "web"); !errors.Is(err, ErrStopped) || got != "requiring, required, tolerated, returning, returned" {
			t.Errorf("%v: %s: %s", err, got, reason(t, journal, "web"))
		}
		all, _ := ReadJournal(journal)
		for _, r := range all {
			if r.Kind == Returning && r.Time.Before(until) {
				t.Errorf("it was brought back at %s, before the exception ended at %s", r.Time, until)
			}
		}
		run, done = aRun(t, f.provider(), journal)
		defer done()
		if err := run.Apply(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "the exception of ops ended on") {
			t.Errorf("an exception that has ended: %v", err)
		}
	})
}

// What was before comes back, but not over what else somebody has changed since; what is gone is told of.
func TestUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "one", "three", "changed", "gone", "back")
		before := f.options()
		plan := aPlan(t, "hold: 1m\nwaves: [{name: all, rest: true}]\n")
		journal := journalIn(t)
		run, done := aRun(t, f.provider(), journal)
		if err := run.Apply(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		done()
		f.set("changed", openimds.OptionsUpdate{HopLimit: new(9)})
		f.set("back", openimds.OptionsUpdate{Tokens: new(openimds.TokensOptional)})
		f.delete("gone")
		run, done = aRun(t, f.provider(), journal)
		err := run.Undo(t.Context(), false)
		done()
		now := f.options()
		if !errors.Is(err, ErrKept) || now["changed"].HopLimit != 9 || now["changed"].Tokens != optional {
			t.Errorf("%v; %s", err, now["changed"])
		}
		for _, name := range []string{"one", "three", "back"} {
			if now[name] != before[name] || !strings.HasSuffix(kinds(t, journal, name), "undone") {
				t.Errorf("%s: %s; it was %s (%s)", name, now[name], before[name], kinds(t, journal, name))
			}
		}
		if got := reason(t, journal, "changed"); !strings.Contains(got, "somebody has changed it since, to tokens required, endpoint enabled, hop limit 9") || kinds(t, journal, "gone") != "requiring, required, gone" {
			t.Errorf("changed: %s", got)
		}
		run, done = aRun(t, f.provider(), journal)
		_ = run.Undo(t.Context(), true)
		done()
		if now := f.options()["changed"]; now != before["changed"] {
			t.Errorf("by force: %s; it was %s", now, before["changed"])
		}
	})
}

// An instance that is changed, deleted or made anew under its name while a plan goes on is left, and said.
func TestChangedInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "aa", "changed", "deleted", "renamed")
		plan := aPlan(t, "hold: 5m\nwaves:\n  - {name: first, names: [aa]}\n  - {name: rest, rest: true}\n")
		journal := journalIn(t)
		f.calling.Go(func() {
			time.Sleep(time.Minute)
			f.set("changed", openimds.OptionsUpdate{HopLimit: new(5)})
			f.delete("deleted", "renamed")
			if _, err := f.service.CreateInstances(t.Context(), control.InstancesLaunch{Names: []string{"renamed"}}); err != nil {
				t.Error(err)
			}
		})
		run, done := aRun(t, f.provider(), journal)
		if err := run.Apply(t.Context(), plan); err != nil {
			t.Error(err)
		}
		done()
		for name, want := range map[string]string{
			"changed": "somebody has changed it since the plan began", "deleted": "the instance is gone", "renamed": "the instance is gone: renamed is another one since",
		} {
			if got := kinds(t, journal, name) + ": " + reason(t, journal, name); !strings.HasPrefix(got, "skipped: "+want) {
				t.Errorf("%s: %s", name, got)
			}
		}
		if now := f.options(); now["renamed"].Tokens != optional || now["changed"].Tokens != optional {
			t.Errorf("touched: %v", now)
		}
	})
}

// Two operators at once, each with a plan and a journal of his own, on the same instances: who still needs IMDSv1 gets
// that back, each journal says what became of each instance, and what both take back is as it was.
func TestTwoOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "aa", "bb", "cc", "dd")
		before := f.options()
		f.every(7*time.Second, func() { f.guests["cc"].call(t, "old/1") })
		journals := []string{journalIn(t), journalIn(t)}
		ended := make([]error, len(journals))
		var both sync.WaitGroup
		for i, journal := range journals {
			both.Go(func() {
				_, ended[i] = once(t, f.provider(), journal, func(run *Run) error {
					return run.Apply(t.Context(), aPlan(t, "hold: 65s\nwaves: [{name: all, rest: true}]\n"))
				})
			})
		}
		both.Wait()
		if !errors.Is(ended[0], ErrStopped) && !errors.Is(ended[1], ErrStopped) {
			t.Errorf("nobody was told that cc's caller was refused: %v; %v", ended[0], ended[1])
		}
		for name, now := range f.options() {
			want := before[name].With(required)
			if name == "cc" {
				want = before[name]
			}
			if kept := kinds(t, journals[0], name) + kinds(t, journals[1], name); now != want && (name != "dd" || kept != "") { // a plan that stops goes no further
				t.Errorf("%s: %s, want %s: %s", name, now, want, kept)
			}
			for _, journal := range journals {
				of := kinds(t, journal, name)
				if why := reason(t, journal, name); strings.HasPrefix(of, "skipped") && why == "" {
					t.Errorf("%s is left and nobody says why: %s", name, of)
				}
				if strings.HasSuffix(of, "requiring") || strings.HasSuffix(of, "returning") {
					t.Errorf("nobody says what became of %s: %s", name, of)
				}
			}
		}
		for _, journal := range journals {
			if _, err := once(t, f.provider(), journal, func(run *Run) error { return run.Undo(t.Context(), false) }); err != nil && !errors.Is(err, ErrNotInForce) {
				t.Error(err)
			}
		}
		for name, now := range f.options() {
			if now != before[name] {
				t.Errorf("%s was taken back to %s, was %s", name, now, before[name])
			}
		}
	})
}

// aheadWatch tells of refusals up to a time that has not come: what the provider goes by was turned on.
type aheadWatch struct{ Watch }

func (w aheadWatch) Next(ctx context.Context) ([]Refusal, time.Time, error) {
	refused, until, err := w.Watch.Next(ctx)
	return refused, until.Round(0).Add(26 * time.Hour), err
}

type aheadProvider struct{ Provider }

func (p aheadProvider) Watch() Watch { return aheadWatch{p.Provider.Watch()} }

// A clock that is turned on while a wave is watched does not end the watching: it lasts its time, and a caller who comes before
// its end brings the instance back.
func TestClockTurnedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "web")
		run, done := aRun(t, aheadProvider{f.provider()}, journalIn(t))
		defer done()
		begun := time.Now()
		f.calling.Go(func() {
			time.Sleep(9 * time.Minute)
			f.guests["web"].call(t, "late/1")
		})
		err := run.Apply(t.Context(), aPlan(t, "hold: 10m\nwaves: [{name: all, rest: true}]\n"))
		if took := time.Since(begun); took < 9*time.Minute || f.options()["web"].Tokens != "optional" {
			t.Errorf("a wave that is watched for 10 minutes took %v: %v, %+v", took, err, f.options()["web"])
		}
	})
}

// A clock that was set back is told of, and makes no exception hold again.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "web")
		journal := journalIn(t)
		run, done := aRun(t, f.provider(), journal)
		run.journal.now = func() time.Time { return time.Now().Add(48 * time.Hour) } // as the clock was then
		if err := run.Apply(t.Context(), aPlan(t, "hold: 1s\nwaves: [{name: all, rest: true}]\n")); err != nil {
			t.Fatal(err)
		}
		done()
		run, done = aRun(t, f.provider(), journal)
		defer done()
		var warned []string
		run.Warn = func(text string) { warned = append(warned, text) }
		until := time.Now().Add(24 * time.Hour).Format(time.RFC3339)
		err := run.Apply(t.Context(), aPlan(t, "waves: [{name: all, rest: true}]\nexceptions: [{names: [web], owner: ops, until: '"+until+"'}]\n"))
		if err == nil || !strings.Contains(err.Error(), "the exception of ops ended on") {
			t.Errorf("an exception that ended before the journal's last record: %v", err)
		}
		if err := run.Undo(t.Context(), false); err != nil || len(warned) != 1 || !strings.Contains(warned[0], "clock is 2d behind") && !strings.Contains(warned[0], "clock is 47h") {
			t.Errorf("%v, %q", err, warned)
		}
	})
}
