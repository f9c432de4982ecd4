package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// told is what a fleet's service was told of its one plan, and of the instances in it: a line each.
func (f *fleet) told() (openimds.MigrationRun, []string) {
	f.t.Helper()
	runs, err := f.service.Migrations(context.Background())
	if err != nil || len(runs) != 1 {
		f.t.Fatalf("the service was told of %+v, %v", runs, err)
	}
	all, _, err := f.service.MigratedInstances(context.Background(), runs[0].ID, control.MigratedSearch{PageSize: control.MaxSearchPage, Page: 1})
	if err != nil {
		f.t.Fatal(err)
	}
	var lines []string
	for _, in := range all {
		line := fmt.Sprintf("%s %s %s", in.Name, in.Wave, in.Step)
		if in.Owner != "" {
			line += fmt.Sprintf(" by %s until %s", in.Owner, in.Until.Format(time.DateOnly))
		}
		lines = append(lines, line)
	}
	return runs[0], lines
}

const toldPlan = "hold: 60s\nwaves: [{name: canary, names: [web-0, web-1]}, {name: rest, rest: true}]\n" +
	"exceptions: [{names: [old], owner: ops, reason: its vendor is slow, until: 2100-01-31}, {names: ['*'], user-agent: 'agent/*', owner: dev, until: 2100-01-31}]\n"

// The service is told of each step while a plan is carried out, by whichever process, and of its end.
func TestTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "web-0", "web-1", "web-2", "web-3", "old")
		journal := journalIn(t)
		process := func(do func(context.Context, *Run) error) (end func() error) {
			ctx, stop := context.WithCancel(t.Context())
			run, closed := aRun(t, f.provider(), journal)
			run.Name = "plan.yaml"
			ended := make(chan error, 1)
			go func() { ended <- do(ctx, run); closed() }()
			return func() error { stop(); return <-ended }
		}
		check := func(state openimds.MigrationState, want ...string) openimds.MigrationRun {
			t.Helper()
			run, lines := f.told()
			if run.State != state || !slices.Equal(lines, want) || run.Plan != "plan.yaml" || run.By != "tester" || run.Told != "AKID ()" {
				t.Errorf("%s of %q by %s:\n%s", run.State, run.Plan, run.Told, strings.Join(lines, "\n"))
			}
			return run
		}
		const old = "old rest waiting"
		interrupt := process(func(ctx context.Context, run *Run) error { return run.Apply(ctx, aPlan(t, toldPlan)) })
		time.Sleep(30 * time.Second)
		run := check(openimds.MigrationRunning, "web-0 canary required", "web-1 canary required", old, "web-2 rest waiting", "web-3 rest waiting")
		if w := run.Waves[0]; len(run.Waves) != 2 || w.Hold != time.Minute || w.BegunAt.IsZero() || !w.HeldAt.IsZero() || w.HeldUntil.Sub(w.BegunAt) < time.Minute || !run.Waves[1].BegunAt.IsZero() {
			t.Errorf("waves: %+v", run.Waves)
		}
		if e := run.Exceptions; len(e) != 2 || e[0].Owner != "ops" || e[0].Reason != "its vendor is slow" || e[1].UserAgent != "agent/*" || e[0].Until.Format(time.DateOnly) != "2100-02-01" {
			t.Errorf("exceptions: %+v", e)
		}
		if silent := time.Since(run.HeardAt); silent > openimds.MigrationHeartbeat {
			t.Errorf("nothing was heard for %s", silent)
		}
		if err := interrupt(); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		interrupted := check(openimds.MigrationInterrupted, "web-0 canary required", "web-1 canary required", old, "web-2 rest waiting", "web-3 rest waiting")
		if interrupted.Reason != "the command was ended" {
			t.Errorf("it was interrupted because %s", interrupted.Reason)
		}
		time.Sleep(time.Hour)
		interrupt = process(func(ctx context.Context, run *Run) error { return run.Resume(ctx) })
		time.Sleep(70 * time.Second)
		run = check(openimds.MigrationRunning, "web-0 canary required", "web-1 canary required", "old rest excepted by ops until 2100-02-01", "web-2 rest required", "web-3 rest required")
		if run.ID != interrupted.ID || !run.BegunAt.Equal(interrupted.BegunAt) || run.Waves[0].HeldAt.IsZero() || run.Waves[1].BegunAt.IsZero() {
			t.Errorf("who goes on tells of %+v", run)
		}
		f.guests["web-2"].call(t, "curl/7.1")
		time.Sleep(10 * time.Second)
		if err := interrupt(); !errors.Is(err, ErrStopped) && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		_, lines := f.told()
		if !slices.Contains(lines, "web-2 rest returned") {
			t.Errorf("who was refused was brought back, and told is\n%s", strings.Join(lines, "\n"))
		}
		if err := process(func(ctx context.Context, run *Run) error { return run.Undo(context.WithoutCancel(ctx), false) })(); err != nil {
			t.Fatal(err)
		}
		check(openimds.MigrationUndone, "web-0 canary undone", "web-1 canary undone", "old rest excepted by ops until 2100-02-01", "web-2 rest returned", "web-3 rest undone")
	})
}

// unhearing answers a service's being told in that way, and counts.
func (f *fleet) unhearing(answer func(*http.Request) *http.Response) (told *int) {
	told = new(int)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = func(r *http.Request) *http.Response {
		if !strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".TellMigration") {
			return nil
		}
		f.mu.Lock()
		*told++
		f.mu.Unlock()
		return answer(r)
	}
	return told
}

// A service that does not hear, whatever it does instead, changes nothing of a plan, and is spoken of once.
func TestToldInVain(t *testing.T) {
	refusing := func(status int, text string) func(*http.Request) *http.Response {
		return func(*http.Request) *http.Response {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}
		}
	}
	for name, answer := range map[string]func(*http.Request) *http.Response{
		"an earlier version": refusing(400, `{"__type":"UnknownOperationException"}`),
		"a failing one":      refusing(500, `{}`),
		"a wrong one":        refusing(200, `<html>`),
		"one that may not":   refusing(400, `{"__type":"AccessDeniedException","message":"no"}`),
		"one that hangs": func(r *http.Request) *http.Response {
			<-r.Context().Done()
			return refusing(500, "")(r)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, "web-0", "web-1")
			told := f.unhearing(answer)
			run, done := aRun(t, f.provider(), journalIn(t))
			defer done()
			var warned []string
			run.Warn = func(text string) { warned = append(warned, text) }
			began := time.Now()
			if err := run.Apply(t.Context(), aPlan(t, "hold: 60s\nwaves: [{name: a, names: [web-0]}, {name: b, rest: true}]\n")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(began); took > 130*time.Second+lastWordTime {
				t.Errorf("%s: the plan took %s", name, took)
			}
			if len(warned) != 1 || !strings.Contains(warned[0], "cannot show how far this is") || *told < 3 {
				t.Errorf("%s: told %d times, warned %q", name, *told, warned)
			}
			for name, is := range f.options() {
				if is.Tokens != required {
					t.Errorf("%s: %s", name, is)
				}
			}
		})
	}
}

// What a service has missed or forgotten it is told when it hears again.
func TestToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 40 {
			names = append(names, fmt.Sprintf("web-%02d", i))
		}
		f := newFleet(t, names...)
		away := true
		f.unhearing(func(*http.Request) *http.Response {
			f.mu.Lock()
			defer f.mu.Unlock()
			if !away {
				return nil
			}
			return &http.Response{StatusCode: 503, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}
		})
		run, done := aRun(t, f.provider(), journalIn(t))
		defer done()
		ended := make(chan error, 1)
		go func() { ended <- run.Apply(t.Context(), aPlan(t, "hold: 150s\nwaves: [{name: all, rest: true}]\n")) }()
		time.Sleep(time.Minute)
		f.mu.Lock()
		away = false
		f.mu.Unlock()
		all := func(what string) {
			t.Helper()
			time.Sleep(2 * openimds.MigrationHeartbeat)
			told, lines := f.told()
			if want := "map[all:map[required:40]]"; fmt.Sprint(told.Counts) != want || len(lines) != 40 {
				t.Errorf("%s: %v, %d instances", what, told.Counts, len(lines))
			}
		}
		all("once it hears again")
		f.forget()
		all("once it has forgotten")
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if told, _ := f.told(); told.State != openimds.MigrationFinished {
			t.Errorf("%+v", told)
		}
	})
}

// AWS is told nothing, nor is a server that is taken for it.
func TestAWSIsToldNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "web-0")
		told := f.unhearing(func(*http.Request) *http.Response { return nil })
		run, done := aRun(t, f.provider().Lightsail, journalIn(t))
		defer done()
		plan, err := ParsePlan([]byte("plan: 1\nprovider: lightsail\nrefusals: unseen\nhold: 60s\nwaves: [{name: all, rest: true}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		if err := run.Apply(t.Context(), plan); err != nil {
			t.Error(err)
		}
		if *told != 0 {
			t.Errorf("told %d times", *told)
		}
	})
}

func TestCut(t *testing.T) {
	for text, want := range map[string]string{
		"short":                  "short",
		"a\xffb":                 "a\ufffdb",
		strings.Repeat("a", 300): strings.Repeat("a", 300),
		strings.Repeat("a", 301): strings.Repeat("a", 297) + "…",
		strings.Repeat("a", 296) + "éé" + "aaaa": strings.Repeat("a", 296) + "…",
	} {
		if got := cut(text); got != want || len(got) > openimds.MaxMigrationText {
			t.Errorf("%q is cut to %q, want %q", text, got, want)
		}
	}
	if got := some(slices.Repeat([]string{"a"}, 30)); len(got) != openimds.MaxMigrationNames || got[19] != "… (30 in all)" {
		t.Errorf("%q", got)
	}
}
