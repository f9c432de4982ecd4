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
	since time.Time // by the service's clock
	seen  int64
	// counter is that of seen: a server that was started anew has another one, which begins at zero.
	counter string
	// check: callers are asked for although the counter has not risen, for what came before it was looked at.
	check bool
}

// Add is [Watch].
func (w *countWatch) Add(ctx context.Context, of Ref, since time.Time) (time.Time, error) {
	answer, err := w.of.wait(ctx, []wire.SeenRefusals{{InstanceName: of.Name}}, 0)
	if err != nil {
		return time.Time{}, err
	}
	if len(answer.Instances) == 0 {
		return time.Time{}, ErrGone
	}
	n := answer.Instances[0].Refused
	if n == nil {
		return time.Time{}, errors.New("no host serves it, so nobody would see whom the change breaks")
	}
	one := &countSeen{id: answer.Instances[0].InstanceID, since: since, seen: *n, counter: answer.Instances[0].CounterID, check: !since.IsZero()}
	if since.IsZero() {
		one.since = answer.Time.Time
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on[of] = one
	return answer.Time.Time, nil
}

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
	if len(all) > maxWaited && len(refused) == 0 {
		return nil, until, pause(ctx, 300*time.Millisecond)
	}
	return refused, until, nil
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
		more, err := w.look(ctx, of, told)
		refused, failures = append(refused, more...), append(failures, err)
	}
	return refused, errors.Join(failures...)
}

// look finds out who was refused, if somebody was.
func (w *countWatch) look(ctx context.Context, of Ref, told map[string]wire.RefusedNumber) ([]Refusal, error) {
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
	case now.Refused == nil:
		return nil, fmt.Errorf("no host serves %s, so nobody sees whether calls are refused", of)
	case *now.Refused == one.seen && now.CounterID == one.counter && !one.check:
		return nil, nil
	}
	refused, err := w.of.refusedSince(ctx, of, one.since)
	if err != nil {
		return nil, err
	}
	from := one.seen
	if now.CounterID != one.counter {
		from = 0 // its server was started anew since; whom the former process refused last, the callers alone tell
	}
	rose := *now.Refused > from
	w.mu.Lock()
	one.seen, one.counter, one.check = *now.Refused, now.CounterID, false
	w.mu.Unlock()
	if rose && len(refused) == 0 {
		refused = []Refusal{{Instance: of, Count: 1}} // by somebody for whom there is no room among the callers, or a clock was set
	}
	return refused, nil
}
