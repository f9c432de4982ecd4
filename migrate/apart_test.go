package migrate

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openimds/openimds"
)

const allAtOnce = "hold: 30s\nwaves: [{name: all, rest: true}]\n"

// hooked has things happen around the calls of a provider.
type hooked struct {
	OpenIMDS
	set   func(of Ref, to Options) error // in place of the change, if it fails
	get   func(in *Instance) error
	calls func(of Ref)
	watch func(of Ref) error
}

func (h hooked) SetOptions(ctx context.Context, of Ref, to Options) error {
	if h.set != nil {
		if err := h.set(of, to); err != nil {
			return err
		}
	}
	return h.OpenIMDS.SetOptions(ctx, of, to)
}

func (h hooked) Instance(ctx context.Context, of Ref) (Instance, error) {
	in, err := h.OpenIMDS.Instance(ctx, of)
	if err == nil && h.get != nil {
		err = h.get(&in)
	}
	return in, err
}

func (h hooked) Calls(ctx context.Context, of Instance, since time.Time) (Calls, error) {
	calls, err := h.OpenIMDS.Calls(ctx, of, since)
	if h.calls != nil {
		h.calls(of.Ref)
	}
	return calls, err
}

func (h hooked) Watch() Watch { return hookedWatch{h.OpenIMDS.Watch(), h.watch} }

type hookedWatch struct {
	Watch
	before func(of Ref) error
}

func (w hookedWatch) Add(ctx context.Context, of Ref, since time.Time) (time.Time, error) {
	if w.before != nil {
		if err := w.before(of); err != nil {
			return time.Time{}, err
		}
	}
	return w.Watch.Add(ctx, of, since)
}

// once does a run on the journal, and returns what it warned of.
func once(t *testing.T, p Provider, journal string, do func(*Run) error) (warned string, err error) {
	t.Helper()
	run, done := aRun(t, p, journal)
	defer done()
	var mu sync.Mutex
	run.Warn = func(text string) { mu.Lock(); defer mu.Unlock(); warned += text + "\n" }
	err = do(run)
	return warned, err
}

// killedAt applies a plan, and ends the process when the instance is first seen to require tokens.
func killedAt(t *testing.T, f *fleet, journal, name string) {
	t.Helper()
	ctx, kill := context.WithCancel(t.Context())
	h := hooked{OpenIMDS: f.provider(), get: func(in *Instance) error {
		if in.Name == name && in.Options.Tokens == required {
			kill()
			return errKilled
		}
		return nil
	}}
	warned, err := once(t, h, journal, func(run *Run) error { return run.Apply(ctx, aPlan(t, allAtOnce)) })
	if err == nil || !strings.HasSuffix(kinds(t, journal, name), "requiring") || !strings.Contains(warned, "nobody watches any more") {
		t.Fatalf("%v: %s; %s", err, kinds(t, journal, name), warned)
	}
}

// hostless makes an instance never obey optional tokens again, as one whose host is gone.
func hostless(p OpenIMDS, name string, from time.Time) hooked {
	return hooked{OpenIMDS: p, get: func(in *Instance) error {
		in.Pending = in.Pending || in.Name == name && in.Options.Tokens == optional && time.Now().After(from)
		return nil
	}}
}

// An instance that cannot be brought back keeps no other from it, neither in the process that has begun to nor in the
// one that goes on with it. It is told of.
func TestReturnsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "aa", "bb", "cc")
		journal := journalIn(t)
		begun := time.Now()
		h := hostless(f.provider(), "aa", begun.Add(4*time.Second))
		f.calling.Go(func() {
			time.Sleep(5 * time.Second)
			f.guests["aa"].call(t, "curl/7")
			time.Sleep(10 * time.Second)
			f.guests["bb"].call(t, "curl/7")
		})
		warned, err := once(t, h, journal, func(run *Run) error { return run.Apply(t.Context(), aPlan(t, allAtOnce)) })
		if err == nil || errors.Is(err, ErrStopped) || !strings.Contains(err.Error(), "aa (us-east-1) could not be brought back") || !strings.Contains(warned, "aa (us-east-1) is not back after 15s") {
			t.Errorf("%v; %s", err, warned)
		}
		if got := kinds(t, journal, "bb"); got != "requiring, required, returning, returned" {
			t.Errorf("bb: %s", got)
		}
		f.calling.Go(func() {
			time.Sleep(5 * time.Second)
			f.guests["cc"].call(t, "curl/7")
		})
		_, err = once(t, h, journal, func(run *Run) error { return run.Resume(t.Context()) })
		if got := kinds(t, journal, "cc"); err == nil || got != "requiring, required, returning, returned" {
			t.Errorf("gone on with: %v; cc: %s", err, got)
		}
		if got := kinds(t, journal, "aa"); got != "requiring, required, returning" {
			t.Errorf("aa: %s", got)
		}
	})
}

// An instance that cannot be changed keeps no other from being taken back, and is gone on with.
func TestUndoGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "aa", "bb", "cc")
		before := f.options()
		journal := journalIn(t)
		if _, err := once(t, f.provider(), journal, func(run *Run) error { return run.Apply(t.Context(), aPlan(t, allAtOnce)) }); err != nil {
			t.Fatal(err)
		}
		h := hooked{OpenIMDS: f.provider(), set: func(of Ref, _ Options) error {
			if of.Name != "aa" {
				return errors.New("the instance is stopping")
			}
			return nil
		}}
		for _, do := range []func(*Run) error{
			func(run *Run) error { return run.Undo(t.Context(), false) }, func(run *Run) error { return run.Resume(t.Context()) },
		} {
			_, err := once(t, h, journal, do)
			if err == nil || !strings.Contains(err.Error(), "cc (us-east-1): the instance is stopping; bb (us-east-1): the instance is stopping; all else was taken back") {
				t.Error(err)
			}
			if now := f.options(); now["aa"] != before["aa"] || now["bb"].Tokens != required {
				t.Errorf("%v", now)
			}
		}
		_, err := once(t, f.provider(), journal, func(run *Run) error { return run.Resume(t.Context()) })
		for name, now := range f.options() {
			if err != nil || now != before[name] {
				t.Errorf("%v: %s: %s", err, name, now)
			}
		}
	})
}

// Who goes on with a plan watches what can be watched, although something cannot; and so does a plan of which a step
// fails, for as long as its wave is held.
func TestFailedIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "aa", "bb", "cc")
		journal := journalIn(t)
		broken := hooked{OpenIMDS: f.provider(), get: func(in *Instance) error {
			if in.Name == "cc" && in.Options.Tokens == required {
				return errors.New("the service is away")
			}
			return nil
		}, set: func(of Ref, _ Options) error {
			if of.Name != "cc" {
				return nil
			}
			f.set("cc", openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)})
			return errors.New("the answer is lost")
		}}
		refused := func(name string) {
			f.calling.Go(func() {
				time.Sleep(10 * time.Second)
				f.guests[name].call(t, "curl/7")
			})
		}
		refused("aa")
		warned, err := once(t, broken, journal, func(run *Run) error { return run.Apply(t.Context(), aPlan(t, allAtOnce)) })
		if err == nil || !strings.Contains(err.Error(), "whether tokens are required of it now is not known") || !strings.Contains(warned, "tokens are required of 2 of this journal's instances, and nobody watches") {
			t.Errorf("%v; %s", err, warned)
		}
		if got := kinds(t, journal, "aa"); got != "requiring, required, returning, returned" {
			t.Errorf("aa: %s", got)
		}
		refused("cc")
		blind := hooked{OpenIMDS: f.provider(), watch: func(of Ref) error {
			if of.Name == "bb" {
				return errors.New("no host serves it")
			}
			return nil
		}}
		_, err = once(t, blind, journal, func(run *Run) error { return run.Resume(t.Context()) })
		if got := kinds(t, journal, "cc"); err == nil || !strings.Contains(err.Error(), "bb (us-east-1) cannot be watched: no host serves it") || got != "requiring, required, returning, returned" {
			t.Errorf("%v; cc: %s", err, got)
		}
		if _, err = once(t, f.provider(), journal, func(run *Run) error { return run.Resume(t.Context()) }); err != nil {
			t.Errorf("when all can be watched: %v", err)
		}
	})
}

// Tokens that are required after it was written down that they are to be are the plan's, whatever else somebody has
// changed before that is looked at: they are watched and taken back.
func TestChangedAfterTheChange(t *testing.T) {
	taken := func(t *testing.T, f *fleet, journal string) {
		t.Helper()
		if got := kinds(t, journal, "aa"); got != "requiring, required" {
			t.Errorf("aa: %s", got)
		}
		_, err := once(t, f.provider(), journal, func(run *Run) error { return run.Undo(t.Context(), false) })
		if now := f.options()["aa"]; !errors.Is(err, ErrKept) || now.Tokens != optional || now.HopLimit != 9 {
			t.Errorf("undone: %v; %s", err, now)
		}
	}
	t.Run("killed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, "aa", "bb")
			journal := journalIn(t)
			killedAt(t, f, journal, "aa")
			f.set("aa", openimds.OptionsUpdate{HopLimit: new(9)})
			if _, err := once(t, f.provider(), journal, func(run *Run) error { return run.Resume(t.Context()) }); err != nil {
				t.Error(err)
			}
			taken(t, f, journal)
		})
	})
	t.Run("lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, "aa", "bb")
			journal := journalIn(t)
			h := hooked{OpenIMDS: f.provider(), set: func(of Ref, to Options) error {
				if of.Name != "aa" {
					return nil
				}
				f.set("aa", openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired), HopLimit: new(9)})
				return errors.New("the answer is lost")
			}}
			if _, err := once(t, h, journal, func(run *Run) error { return run.Apply(t.Context(), aPlan(t, allAtOnce)) }); err != nil {
				t.Error(err)
			}
			taken(t, f, journal)
		})
	})
}

// What somebody changes while an instance is looked at stays, and the instance is left. All that is ever changed is the
// tokens option.
func TestOnlyTokensChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "aa", "bb")
		journal := journalIn(t)
		h := hooked{OpenIMDS: f.provider(), calls: func(of Ref) {
			if of.Name == "aa" {
				f.set("aa", openimds.OptionsUpdate{HopLimit: new(7), Endpoint: new(openimds.EndpointDisabled)})
			}
		}, set: func(_ Ref, to Options) error {
			if to != (Options{Tokens: to.Tokens}) {
				t.Errorf("changed: %s", to)
			}
			return nil
		}}
		if _, err := once(t, h, journal, func(run *Run) error { return run.Apply(t.Context(), aPlan(t, allAtOnce)) }); err != nil {
			t.Error(err)
		}
		if now := f.options()["aa"]; now.HopLimit != 7 || now.Endpoint != disabled || now.Tokens != optional {
			t.Errorf("overwritten: %s", now)
		}
		if got := reason(t, journal, "aa"); !strings.Contains(got, "somebody has changed it while it was looked at, from tokens optional, endpoint enabled") {
			t.Errorf("aa: %s", got)
		}
		if _, err := once(t, h, journal, func(run *Run) error { return run.Undo(t.Context(), false) }); err != nil {
			t.Error(err)
		}
	})
}

// A journal is not held against another server, account or region; one that is at home goes on with it.
func TestNotAtHome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, other := newFleet(t, "aa", "bb"), newFleet(t, "aa", "bb")
		before := f.options()
		journal := journalIn(t)
		killedAt(t, f, journal, "bb")
		for want, p := range map[string]Provider{
			"no instance of this journal is here, but 2 others with their names":                      other.provider(),
			"this journal is of the account 123456789012, and the instances here are of 210987654321": elsewhere{f.provider(), "us-east-1", "210987654321"},
			"this journal is of the region us-east-1, and eu-west-1 is asked; name it with --region":  elsewhere{f.provider(), "eu-west-1", "123456789012"},
		} {
			for _, do := range []func(*Run) error{
				func(run *Run) error { return run.Resume(t.Context()) }, func(run *Run) error { return run.Undo(t.Context(), true) },
			} {
				if _, err := once(t, p, journal, do); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v; want %s", err, want)
				}
			}
		}
		if got := kinds(t, journal, "") + ": " + kinds(t, journal, "bb"); got != "began, wave began: requiring" {
			t.Errorf("written: %s", got)
		}
		_, err := once(t, f.provider(), journal, func(run *Run) error { return run.Undo(t.Context(), false) })
		if now := f.options(); err != nil || now["aa"] != before["aa"] || now["bb"] != before["bb"] {
			t.Errorf("%v; %v", err, now)
		}
	})
}

// elsewhere has the same instances in another place.
type elsewhere struct {
	OpenIMDS
	region, account string
}

func (e elsewhere) Regions() []string { return []string{e.region} }

func (e elsewhere) Instances(ctx context.Context) ([]Instance, error) {
	all, err := e.OpenIMDS.Instances(ctx)
	for i := range all {
		all[i].ID = strings.Replace(all[i].ID, "123456789012", e.account, 1)
	}
	return all, err
}

// An instance that is gone is told of once, hinders no later undo, and is not forgotten: it is taken back where it is
// there after all. One that somebody else has changed is looked at anew by the next plan.
func TestGoneAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "aa", "bb", "cc", "dd")
		before := f.options()
		journal := journalIn(t)
		if _, err := once(t, f.provider(), journal, func(run *Run) error { return run.Apply(t.Context(), aPlan(t, allAtOnce)) }); err != nil {
			t.Fatal(err)
		}
		f.set("aa", openimds.OptionsUpdate{Tokens: new(openimds.TokensOptional), HopLimit: new(9)})
		f.delete("cc")
		hides := hooked{OpenIMDS: f.provider(), get: func(in *Instance) error {
			if in.Name == "dd" {
				return ErrGone
			}
			return nil
		}}
		undo := func(run *Run) error { return run.Undo(t.Context(), false) }
		if _, err := once(t, hides, journal, undo); !errors.Is(err, ErrKept) {
			t.Error(err)
		}
		if _, err := once(t, hides, journal, undo); !errors.Is(err, ErrNotInForce) {
			t.Errorf("once more: %v", err)
		}
		if _, err := once(t, f.provider(), journal, undo); f.options()["dd"] != before["dd"] {
			t.Errorf("dd is there again: %v; %s", err, f.options()["dd"])
		}
		if _, err := once(t, f.provider(), journal, func(run *Run) error { return run.Apply(t.Context(), aPlan(t, allAtOnce)) }); err != nil {
			t.Error(err)
		}
		for name, want := range map[string]string{
			"aa": "requiring, required, kept, requiring, required", "cc": "requiring, required, gone",
			"dd": "requiring, required, gone, undoing, undone, requiring, required",
		} {
			if got := kinds(t, journal, name); got != want {
				t.Errorf("%s: %s; want %s", name, got, want)
			}
		}
	})
}

// A plan that has left all says so.
func TestAllLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, "aa", "bb")
		for _, name := range []string{"aa", "bb"} {
			f.set(name, openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)})
		}
		warned, err := once(t, f.provider(), journalIn(t), func(run *Run) error { return run.Apply(t.Context(), aPlan(t, allAtOnce)) })
		if err != nil || !strings.Contains(warned, "the plan has required tokens of no instance: it left all 2") {
			t.Errorf("%v; %s", err, warned)
		}
	})
}
