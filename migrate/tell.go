package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

// listens is a provider whose service keeps how far plans are, for who looks at its page.
type listens interface {
	// hear tells it, and returns of how many of the plan's instances it knows how far they are.
	hear(ctx context.Context, told wire.TellMigrationRequest) (known int, err error)
}

func (o OpenIMDS) hear(ctx context.Context, told wire.TellMigrationRequest) (int, error) {
	answer, err := client.Call(ctx, o.api, wire.TellMigration, told)
	return answer.Instances, err
}

// How a service is told: what comes together at once, what it may take, and what the last word may take, for which the
// command waits.
const (
	tellTogether = time.Second
	tellTime     = 10 * time.Second
	lastWordTime = 5 * time.Second
)

// tellers are those who tell, one for each region.
type tellers []*teller

// news has them tell soon.
func (all tellers) news() {
	for _, t := range all {
		select {
		case t.wake <- struct{}{}:
		default: // it is to wake anyway
		}
	}
}

// teller tells the service of one region how far a run is. Nothing of the run waits for it, or fails because it does.
type teller struct {
	run    *Run
	to     listens
	region string
	wake   chan struct{}
	// refs are the instances in the order of the plan, waves those that they are in.
	refs  []Ref
	waves map[Ref]string
	// told is what the service was told of each of them.
	told []wire.MigratedInstance
}

// tell has services told how far the run is, until the function that it returns is called with how it ended.
func (r *Run) tell(ctx context.Context) (end func(*error)) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	over := make(chan struct{})
	var ended error
	var telling sync.WaitGroup
	var all tellers
	for _, p := range eachRegion(r.provider) {
		if to, ok := p.(listens); ok {
			all = append(all, &teller{run: r, to: to, region: p.Regions()[0], wake: make(chan struct{}, 1)})
		}
	}
	r.mu.Lock()
	for _, t := range all {
		t.refs, t.waves = r.state.refsIn(t.region)
	}
	r.tellers = all
	r.mu.Unlock()
	var once sync.Once
	for _, t := range all {
		telling.Go(func() {
			tell := func() (failed bool) {
				err := t.tell(ctx, tellTime, nil)
				if err != nil && ctx.Err() == nil {
					once.Do(func() {
						r.Warn(fmt.Sprintf("the server's page cannot show how far this is (%v); nothing else changes by that", oneLine(err)))
					})
				}
				return err != nil
			}
			for failed := tell(); t.next(over, failed); {
				failed = tell()
			}
			_ = t.tell(ctx, lastWordTime, &ended) // who looks is told since when nothing was heard
		})
	}
	return func(err *error) {
		ended = *err
		close(over)
		giveUp := time.AfterFunc(lastWordTime, stop)
		telling.Wait()
		giveUp.Stop()
		stop()
	}
}

// next waits until there is something to tell, or it is time to say that the command is still there; false: the run is over.
// A service that did not hear is told again when that is due, and not at each step.
func (t *teller) next(over <-chan struct{}, failed bool) bool {
	wake := t.wake
	if failed {
		wake = nil
	}
	select {
	case <-over:
		return false
	case <-wake:
	case <-time.After(openimds.MigrationHeartbeat):
		return true
	}
	select {
	case <-over:
		return false
	case <-time.After(tellTogether):
		return true
	}
}

// tell tells what the service was not told yet, and that the command is there; each request may take that long. ended is how
// the run has ended; nil: it has not.
func (t *teller) tell(ctx context.Context, each time.Duration, ended *error) error {
	for again := true; ; {
		request, more := t.changed(ended)
		bounded, done := context.WithTimeout(ctx, each)
		known, err := t.to.hear(bounded, request)
		done()
		if err != nil {
			return err
		}
		told := 0
		for _, in := range request.Instances {
			t.told[in.Place] = in
		}
		for _, in := range t.told {
			if in.InstanceName != "" {
				told++
			}
		}
		switch {
		case known < told && again: // it has forgotten some, or is another one by now
			again = false
			clear(t.told)
		case !more:
			return nil
		}
	}
}

// changed is how far the run is, with as many of the instances of which the service was told something else as a request
// may have; more says that there are others.
func (t *teller) changed(ended *error) (request wire.TellMigrationRequest, more bool) {
	r := t.run
	r.mu.Lock()
	request = r.state.told(r.holds)
	states := make([]*Progress, len(t.refs))
	for i, ref := range t.refs {
		states[i] = r.state.instances[ref] // nil: nothing is written of it
	}
	r.mu.Unlock()
	request.Plan = cut(cmp.Or(r.Name, "a plan"))
	if state := openimds.MigrationState(request.State); ended != nil && (state == openimds.MigrationRunning || state == openimds.MigrationUndoing) {
		request.State, request.Reason = wire.MigrationState(openimds.MigrationInterrupted), "the command was ended"
		if *ended != nil && !errors.Is(*ended, context.Canceled) {
			request.Reason = cut(oneLine(*ended))
		}
	}
	if t.told == nil {
		t.told = make([]wire.MigratedInstance, len(t.refs))
	}
	for place, p := range states {
		in := wire.MigratedInstance{Place: place, InstanceName: t.refs[place].Name, Wave: cut(t.waves[t.refs[place]]), Step: wire.MigrationStep(openimds.MigrationWaiting)}
		if p != nil {
			p.show(&in)
		}
		if sameTold(in, t.told[place]) {
			continue
		}
		if len(request.Instances) == openimds.MaxMigrationTold {
			return request, true
		}
		request.Instances = append(request.Instances, in)
	}
	return request, false
}

func sameTold(a, b wire.MigratedInstance) bool {
	same := a.At.OrZero().Equal(b.At.OrZero()) && a.Until.OrZero().Equal(b.Until.OrZero())
	a.At, a.Until, b.At, b.Until = nil, nil, nil, nil
	return same && a == b
}

// show tells of an instance what its journal does.
func (p *Progress) show(in *wire.MigratedInstance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	steps := map[Kind]openimds.MigrationStep{
		Requiring: openimds.MigrationRequiring, Required: openimds.MigrationRequired, Skipped: openimds.MigrationSkipped, Returning: openimds.MigrationReturning,
		Returned: openimds.MigrationReturned, Undoing: openimds.MigrationTakenBack, Undone: openimds.MigrationHadBack, Kept: openimds.MigrationKept, Gone: openimds.MigrationGone,
	}
	step, done := steps[p.At]
	if !done || p.At == Requiring && !p.InForce {
		return
	}
	in.Step, in.Reason, in.At = wire.MigrationStep(step), cut(p.Reason), awsjson.At(p.Written)
	if p.At == Skipped && p.Exempt != nil {
		in.Step, in.Owner, in.Until = wire.MigrationStep(openimds.MigrationExcepted), cut(p.Exempt.Owner), awsjson.At(p.Exempt.Until)
		in.Reason = cut(p.Exempt.Reason)
	}
}

// told is how far a plan is, as the services that listen are told it.
func (s *State) told(holds map[string]time.Time) wire.TellMigrationRequest {
	request := wire.TellMigrationRequest{
		MigrationID: s.ID, BegunBy: cut(s.By), BegunAt: awsjson.At(s.Begun), Reason: cut(s.Reason), StepAt: awsjson.At(s.Last),
	}
	state := openimds.MigrationRunning
	switch {
	case s.Ended == UndoFinished:
		state = openimds.MigrationUndone
	case s.Undo && s.Ended == "":
		state = openimds.MigrationUndoing
	case s.Ended == Finished:
		state = openimds.MigrationFinished
	case s.Ended == Stopped:
		state = openimds.MigrationStopped
	}
	request.State = wire.MigrationState(state)
	room := openimds.MaxMigrationTexts - 4*openimds.MaxMigrationText // of the other texts
	for _, w := range s.Plan.Waves[:min(len(s.Plan.Waves), openimds.MaxMigrationList)] {
		wave := wire.MigrationWave{Name: cut(w.Name), HoldSeconds: int(s.Plan.hold(w) / time.Second)}
		if room -= len(wave.Name); slices.ContainsFunc(request.Waves, func(other wire.MigrationWave) bool { return other.Name == wave.Name }) {
			continue // of two that begin alike
		}
		times := s.Waves[w.Name]
		wave.BegunAt, wave.HeldAt, wave.HeldUntil = unlessZero(times.Began), unlessZero(times.Held), unlessZero(holds[w.Name])
		request.Waves = append(request.Waves, wave)
	}
	for i, e := range s.Plan.Exceptions {
		told := wire.MigrationException{
			Names: some(e.Names), Tags: some(e.Tags), UserAgent: cut(e.UserAgent), Source: cut(e.Source), Owner: cut(e.Owner), Reason: cut(e.Reason), Until: awsjson.At(e.Until),
		}
		for _, text := range slices.Concat(told.Names, told.Tags, []string{told.UserAgent, told.Source, told.Owner, told.Reason}) {
			room -= len(text)
		}
		if room < 0 || i == openimds.MaxMigrationList {
			request.MoreExceptions = len(s.Plan.Exceptions) - i
			break
		}
		request.Exceptions = append(request.Exceptions, told)
	}
	return request
}

// unlessZero is a time that has come.
func unlessZero(t time.Time) *awsjson.Epoch {
	if t.IsZero() {
		return nil
	}
	return awsjson.At(t)
}

// cut is a text as long as services take it.
func cut(text string) string {
	const more = "…"
	if text = strings.ToValidUTF8(text, "\ufffd"); len(text) <= openimds.MaxMigrationText {
		return text
	}
	end := openimds.MaxMigrationText - len(more)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}

// some are as many of them as services take; the last one then says that there are others.
func some(all []string) (told []string) {
	for _, one := range all {
		if len(told) == openimds.MaxMigrationNames-1 && len(all) > openimds.MaxMigrationNames {
			return append(told, fmt.Sprintf("… (%d in all)", len(all)))
		}
		told = append(told, cut(one))
	}
	return told
}

// holding notes until when a wave is watched.
func (r *Run) holding(wave Wave, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holds == nil {
		r.holds = map[string]time.Time{}
	}
	r.holds[wave.Name] = until
	r.tellers.news()
}

// refsIn are the instances of a region that the plan has, in its order, with their waves, and behind them those of which
// an earlier plan of the journal has required tokens.
func (s *State) refsIn(region string) (refs []Ref, waves map[Ref]string) {
	waves = map[Ref]string{}
	for _, wave := range s.Roster {
		for _, m := range wave.Members {
			if _, twice := waves[m.Ref]; m.Region == region && !twice {
				refs, waves[m.Ref] = append(refs, m.Ref), wave.Wave
			}
		}
	}
	for _, p := range s.All() {
		_, own := waves[p.Ref]
		if at, inForce := p.how(); !own && p.Region == region && (inForce || at != "") {
			refs, waves[p.Ref] = append(refs, p.Ref), ""
		}
	}
	return refs, waves
}
