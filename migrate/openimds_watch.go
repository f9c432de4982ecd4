package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
)

// countWatch waits for the counters of refused calls to rise, and asks who it was when they do.
type countWatch struct {
	of OpenIMDS
	mu sync.Mutex
	on map[Ref]*countSeen
}

type countSeen struct {
	id    string    // the service's for the instance's life
	since time.Time // by the clock of who counts
	seen  int64
	// counter is the id of what counted: with another one, that the number is the same says nothing.
	counter string
	// until is up to when all refusals are known, by this machine's clock.
	until time.Time
	// check: callers are asked for although the counter has not risen, for what came before it was looked at.
	check bool
}

const (
	// addTime is how long hosts may take to tell a first number.
	addTime = 30 * time.Second
	// silentTime is how long it may be unknown what was refused, as while an instance moves, before that is told.
	silentTime = 30 * time.Second
)

// unseen is why it is not known what is refused.
func unseen(n wire.RefusedNumber) error {
	why := n.Unknown
	if why == "" {
		why = "no host serves it"
	}
	return errors.New(why + ", so nobody would see whom the change breaks")
}

// Add is [Watch].
func (w *countWatch) Add(ctx context.Context, of Ref, since time.Time) (time.Time, error) {
	for begun := time.Now(); ; {
		sent := time.Now()
		answer, err := w.of.wait(ctx, []wire.SeenRefusals{{InstanceName: of.Name}}, maxRefusalsWait)
		if err != nil {
			return time.Time{}, err
		}
		if len(answer.Instances) == 0 {
			return time.Time{}, ErrGone
		}
		n := answer.Instances[0]
		switch {
		case n.Refused == nil && n.Awaited && time.Since(begun) < addTime:
			continue
		case n.Refused == nil:
			return time.Time{}, unseen(n)
		}
		now := answer.Time.Time
		if n.HostTime != nil && n.HostTime.Before(now) { // by whose clock callers are told of
			now = n.HostTime.Time
		}
		one := &countSeen{id: n.InstanceID, since: since, seen: *n.Refused, counter: n.CounterID, until: sent.Add(-untold(n)), check: !since.IsZero()}
		if since.IsZero() {
			one.since = now
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.on[of] = one
		return now, nil
	}
}

// untold is for how long before an answer there may have been refusals that it does not know of.
func untold(n wire.RefusedNumber) time.Duration { return time.Duration(n.UntoldSeconds) * time.Second }

// Remove is [Watch].
func (w *countWatch) Remove(of Ref) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.on, of)
}

// watched are the instances, and whether one of them has to be asked for at once.
func (w *countWatch) watched() (all []Ref, check bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for of, one := range w.on {
		all, check = append(all, of), check || one.check
	}
	slices.SortFunc(all, func(a, b Ref) int { return strings.Compare(a.Name, b.Name) })
	return all, check
}

// Next is [Watch]. What was told of when the question was sent is told of.
func (w *countWatch) Next(ctx context.Context) ([]Refusal, time.Time, error) {
	all, check := w.watched()
	until := time.Now()
	if len(all) == 0 {
		return nil, until, pause(ctx, 100*time.Millisecond)
	}
	// Somebody who is added meanwhile is looked at next time, which must not be long from now.
	seconds := wire.RefusalsWait(1)
	if check || len(all) > maxWaited {
		seconds = 0
	}
	var refused []Refusal
	var failures []error
	for part := range slices.Chunk(all, maxWaited) {
		told, err := w.part(ctx, part, seconds)
		refused, failures = append(refused, told...), append(failures, err)
	}
	if err := errors.Join(failures...); err != nil {
		return refused, time.Time{}, errors.Join(err, pause(ctx, time.Second))
	}
	until = w.until(all, until)
	if len(all) > maxWaited && len(refused) == 0 {
		return nil, until, pause(ctx, 300*time.Millisecond)
	}
	return refused, until, nil
}

// until is up to when the refusals of all the instances are known, at most until then.
func (w *countWatch) until(all []Ref, until time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, of := range all {
		if one := w.on[of]; one != nil && one.until.Before(until) {
			until = one.until
		}
	}
	return until
}

// pause waits, unless the context ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// part tells of the refusals of some of the instances.
func (w *countWatch) part(ctx context.Context, part []Ref, seconds wire.RefusalsWait) ([]Refusal, error) {
	request := make([]wire.SeenRefusals, len(part))
	w.mu.Lock()
	for i, of := range part {
		request[i].InstanceName = of.Name
		if one := w.on[of]; one != nil {
			request[i].Seen, request[i].CounterID = new(int(one.seen)), one.counter
		}
	}
	w.mu.Unlock()
	sent := time.Now()
	answer, err := w.of.wait(ctx, request, seconds)
	if err != nil {
		return nil, err
	}
	told := map[string]wire.RefusedNumber{}
	for _, one := range answer.Instances {
		told[one.InstanceName] = one
	}
	var refused []Refusal
	var failures []error
	for _, of := range part {
		more, err := w.look(ctx, of, told, sent)
		refused, failures = append(refused, more...), append(failures, err)
	}
	return refused, errors.Join(failures...)
}

// look finds out who was refused, if somebody was, by what was told when it was asked at that time.
func (w *countWatch) look(ctx context.Context, of Ref, told map[string]wire.RefusedNumber, sent time.Time) ([]Refusal, error) {
	w.mu.Lock()
	one := w.on[of]
	w.mu.Unlock()
	now, there := told[of.Name]
	switch {
	case one == nil:
		return nil, nil
	case !there || now.InstanceID != one.id:
		w.Remove(of) // whoever asks for the instance is told that it is gone
		return nil, nil
	case now.Refused == nil && now.Awaited && sent.Sub(one.until) < silentTime:
		return nil, nil // what is refused meanwhile is told then
	case now.Refused == nil:
		return nil, fmt.Errorf("%s: %w", of, unseen(now))
	}
	another := now.CounterID != one.counter
	if *now.Refused == one.seen && !another && !one.check {
		w.seen(one, now, sent)
		return nil, nil
	}
	refused, err := w.of.refusedSince(ctx, of, one.since)
	if err != nil {
		return nil, err
	}
	from := one.seen
	if another && now.HostTime == nil {
		from = 0 // the server itself was started anew since; whom the former process refused last, the callers alone tell
	}
	rose := *now.Refused > from && (!another || now.HostTime == nil) // else it may be the count of before of another host
	w.seen(one, now, sent)
	if rose && len(refused) == 0 {
		refused = []Refusal{{Instance: of, Count: 1}} // by somebody for whom there is no room among the callers, or a clock was set
	}
	return refused, nil
}

// seen notes what was told, once it was answered.
func (w *countWatch) seen(one *countSeen, now wire.RefusedNumber, sent time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one.seen, one.counter, one.until, one.check = *now.Refused, now.CounterID, sent.Add(-untold(now)), false
}
