package migrate

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
)

// enforced has the fleet's account enforce session tokens, or no longer.
func (f *fleet) enforced(is openimds.EndpointMode) {
	f.t.Helper()
	if _, err := f.service.ModifyDefaults(f.ctx, openimds.DefaultsUpdate{TokensEnforced: &is}); err != nil {
		f.t.Fatal(err)
	}
}

// way is a provider whose account can enforce session tokens, with what ends that.
func (f *fleet) way(name string) (p Provider, ends string) {
	if name == "ec2" {
		return f.ec2(0.2, 0), "'openimds migrate enforce --provider ec2 --region us-east-1 --off --yes'"
	}
	return f.provider(), "'openimds defaults --http-tokens-enforced disabled'"
}

const wayPlan = "plan: 1\nprovider: PROVIDER\ncriteria: {window: 1h, calls: 1000000, gaps: 1h}\nhold: 10m\nwaves: [{name: all, rest: true}]\n"

// TestNoWayBack: where the account enforces tokens, nothing is required unless that is wanted; what is required then is
// taken back by nobody until the account enforces them no longer, and 'undo' says so.
func TestNoWayBack(t *testing.T) {
	for _, name := range []string{"ec2", "openimds"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, "web", "calls")
				p, ends := f.way(name)
				ctx := t.Context()
				plan, err := ParsePlan([]byte(strings.Replace(wayPlan, "PROVIDER", name, 1)))
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				if err := WayBack(ctx, p); err != nil {
					t.Errorf("nothing is enforced: %v", err)
				}
				f.enforced(openimds.EndpointEnabled)
				journal := journalIn(t)
				run, done := aRun(t, p, journal)
				for what, err := range map[string]error{"the question": WayBack(ctx, p), "the plan": run.Apply(ctx, plan)} {
					if !errors.Is(err, ErrNoWayBack) || !strings.Contains(err.Error(), "us-east-1: ") || !strings.Contains(err.Error(), ends) || !strings.Contains(err.Error(), "--no-way-back") || strings.Contains(err.Error(), "\n") {
						t.Errorf("%s: %v", what, err)
					}
				}
				if all, err := ReadJournal(journal); err != nil || len(all) != 0 {
					t.Errorf("%v, %v", all, err)
				}
				if options := f.options(); options["web"].Tokens != optional || options["calls"].Tokens != optional {
					t.Errorf("%+v", options)
				}
				run.NoWayBack = true
				if err := run.Apply(ctx, plan); err != nil {
					t.Fatal(err)
				}
				err = run.Undo(ctx, false)
				if options := f.options(); err == nil || options["web"].Tokens != required || options["calls"].Tokens != required {
					t.Errorf("%+v, %v", options, err)
				} else if !strings.Contains(err.Error(), "2 of us-east-1 were left") || !strings.Contains(err.Error(), ends) || strings.Contains(err.Error(), "\n") {
					t.Error(err)
				}
				if got := kinds(t, journal, f.named(p, "web")); got != "requiring, required" {
					t.Errorf("something was tried: %s", got)
				}
				f.enforced(openimds.EndpointDisabled)
				if err := run.Resume(ctx); err != nil {
					t.Error(err)
				}
				if options := f.options(); options["web"].Tokens != optional || options["calls"].Tokens != optional {
					t.Errorf("%+v", options)
				}
				done()
			})
		})
	}
}

// named is what a provider calls an instance.
func (f *fleet) named(p Provider, name string) string {
	if p.Name() == "ec2" {
		return f.id(name)
	}
	return name
}

// TestWayBackShutBetween: what is enforced between two waves ends the plan before the second.
func TestWayBackShutBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "one", "two")
		p := f.ec2(0, 0)
		plan, err := ParsePlan([]byte("plan: 1\nprovider: ec2\ncriteria: {window: 1h, calls: 1000000, gaps: 1h}\nhold: 30m\nwaves: [{name: first, names: [" + f.id("one") + "]}, {name: all, rest: true}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		time.AfterFunc(10*time.Minute, func() { f.enforced(openimds.EndpointEnabled) })
		run, done := aRun(t, p, journalIn(t))
		defer done()
		if err := run.Apply(t.Context(), plan); !errors.Is(err, ErrNoWayBack) {
			t.Error(err)
		}
		if options := f.options(); options["one"].Tokens != required || options["two"].Tokens != optional {
			t.Errorf("%+v", options)
		}
	})
}

// TestWayBackUnknown: what nobody tells is no way back.
func TestWayBackUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "web")
		f.mu.Lock()
		f.before = func(r *http.Request) *http.Response {
			if strings.Contains(r.Header.Get("X-Amz-Target"), "Defaults") {
				return answerOf(http.StatusBadRequest, map[string]string{"__type": "AccessDeniedException", "message": "not for you"})
			}
			return nil
		}
		f.mu.Unlock()
		if err := WayBack(t.Context(), f.provider()); !errors.Is(err, ErrNoWayBack) || !strings.Contains(err.Error(), "not for you") || !strings.Contains(err.Error(), "--no-way-back") {
			t.Error(err)
		}
	})
}
