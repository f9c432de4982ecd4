package control_test

import (
	"errors"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

const (
	shadow   = openimds.RehearseShadow
	brownOut = openimds.RehearseBrownOut
)

func (f *fixture) rehearse(mode openimds.RehearsalMode, share float64, lasts time.Duration) *openimds.Rehearsal {
	f.t.Helper()
	ops, err := one(f.StartRehearsal(f.t.Context(), "web", mode, share, lasts))
	done(f.t, ops, err, "StartRehearsal web")
	return f.get("web").Rehearsal
}

// noted says whether the store has a note that web's rehearsal is to be ended.
func (f *fixture) noted() bool {
	f.t.Helper()
	_, err := f.store.Get(f.t.Context(), records.RehearsalKey("web"))
	if err != nil && !errors.Is(err, store.ErrNoRecord) {
		f.t.Fatal(err)
	}
	return err == nil
}

// A rehearsal changes no option, takes another's place, and its end is written down, once.
func TestRehearsal(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	options := f.get("web").Options
	r := f.rehearse(shadow, 0, time.Hour)
	if r.Until.Sub(r.Since) != time.Hour || !r.UnderWay(f.clock()) || r.String() != "shadow until 2026-11-22 13:01:02" || !f.noted() {
		t.Errorf("%+v (%v)", r, r)
	}
	f.audit()
	r = f.rehearse(brownOut, 0.1, 10*time.Minute)
	if r.Mode != brownOut || r.Share != 0.1 || r.Until.Sub(r.Since) != 10*time.Minute || f.get("web").Options != options {
		t.Errorf("%+v", r)
	}
	if told := f.audit(); len(told) != 1 || told[0].What != "StartRehearsal" || told[0].After["rehearsal"] == nil || told[0].Before["rehearsal"] == nil {
		t.Errorf("audit: %+v", told)
	}
	// A changed option is respected at once, and the rehearsal goes on beside it.
	f.update("web", openimds.OptionsUpdate{HopLimit: new(3)})
	if in := f.get("web"); in.Options.HopLimit != 3 || !in.Rehearsal.UnderWay(f.clock()) {
		t.Errorf("%+v", in)
	}
	f.audit()
	end := func() {
		t.Helper()
		if err := f.EndRehearsals(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	end()
	if in := f.get("web"); !in.Rehearsal.UnderWay(f.clock()) {
		t.Error("it is ended before its time")
	}
	f.sleep(10 * time.Minute)
	end()
	in := f.get("web")
	if in.Rehearsal.UnderWay(start) || !in.Rehearsal.Ended.Equal(r.Until) || f.noted() {
		t.Errorf("after its time, with a clock that is turned back: %+v", in.Rehearsal)
	}
	if told := f.audit(); len(told) != 1 || told[0].What != "EndRehearsals" || told[0].Who != "openimds" || told[0].Resource != "Instance/web" {
		t.Errorf("audit: %+v", told)
	}
	before := f.revision()
	end()
	if f.revision() != before {
		t.Error("what is over is ended again")
	}
}

func TestStopRehearsal(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	stop := func() *openimds.Rehearsal {
		ops, err := one(f.StopRehearsal(t.Context(), "web"))
		done(t, ops, err, "StopRehearsal web")
		return f.get("web").Rehearsal
	}
	if r := stop(); r != nil {
		t.Errorf("without one: %+v", r)
	}
	f.rehearse(brownOut, 1, time.Hour)
	f.sleep(time.Minute)
	r := stop()
	if r.UnderWay(start) || r.Ended.Sub(r.Since) < time.Minute || r.Ended.Sub(r.Since) > 2*time.Minute || f.noted() {
		t.Errorf("stopped: %+v", r)
	}
	if again := stop(); *again != *r {
		t.Errorf("stopped again: %+v", again)
	}
}

// An instance that has gone leaves nothing to end, and one that was made anew has no rehearsal.
func TestRehearsalOfAnInstanceThatGoes(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	for _, anew := range []bool{false, true} {
		f.rehearse(shadow, 0, time.Hour)
		if _, err := f.DeleteInstance(t.Context(), "web"); err != nil {
			t.Fatal(err)
		}
		if anew {
			f.create("web")
		}
		if err := f.EndRehearsals(t.Context()); err != nil || f.noted() {
			t.Errorf("anew %v: %v, noted %v", anew, err, f.noted())
		}
		if !anew {
			f.create("web")
		} else if r := f.get("web").Rehearsal; r != nil {
			t.Errorf("the new instance has %+v", r)
		}
	}
}

// What is refused changes nothing and says what is wrong.
func TestRehearsalRefused(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	before := f.revision()
	for _, tt := range []struct {
		mode    openimds.RehearsalMode
		share   float64
		lasts   time.Duration
		code    openimds.Code
		message string
	}{
		{"x", 0, time.Hour, openimds.UnknownValue, `The mode of a rehearsal must be one of [shadow brown-out], not "x"`},
		{shadow, 0.5, time.Hour, openimds.Conflicting, "A share is of a brown-out; a shadow refuses nothing"},
		{brownOut, 0, time.Hour, openimds.OutOfRange, "The share of a brown-out must be above 0 and at most 1, not 0"},
		{brownOut, 1.5, time.Hour, openimds.OutOfRange, "The share of a brown-out must be above 0 and at most 1, not 1.5"},
		{brownOut, 1, 25 * time.Hour, openimds.OutOfRange, "A brown-out can last from a second to a day, not 25h"},
		{brownOut, 1, 0, openimds.OutOfRange, "A brown-out can last from a second to a day, not 0s"},
		{shadow, 0, 64 * 24 * time.Hour, openimds.OutOfRange, "A shadow can last from a second to 63 days, not 64d"},
		{shadow, 0, -time.Second, openimds.OutOfRange, "A shadow can last from a second to 63 days, not -1s"},
	} {
		_, err := f.StartRehearsal(t.Context(), "web", tt.mode, tt.share, tt.lasts)
		refused(t, err, openimds.InvalidInput, tt.code, tt.message)
	}
	if f.revision() != before {
		t.Error("what was refused changed something")
	}
	f.update("web", openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)})
	_, err := f.StartRehearsal(t.Context(), "web", shadow, 0, time.Hour)
	refused(t, err, openimds.OperationFailure, openimds.WrongState, "There is nothing to rehearse on web: it requires session tokens already")
	f.update("web", openimds.OptionsUpdate{Tokens: new(openimds.TokensOptional), Endpoint: new(openimds.EndpointDisabled)})
	_, err = f.StartRehearsal(t.Context(), "web", shadow, 0, time.Hour)
	refused(t, err, openimds.OperationFailure, openimds.WrongState, "There is nothing to rehearse on web: its metadata endpoint is disabled")
}
