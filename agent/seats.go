package agent

import (
	"context"
	"maps"
	"slices"
)

// tellSeats has seats known to others before they are filled: what is changed from then on waits for them.
func (a *Agent) tellSeats(ctx context.Context, seats map[string]*served) error {
	a.telling.Lock()
	defer a.telling.Unlock()
	if p := a.cfg.Presence; p != nil {
		err := p.takeSeats(ctx, slices.Sorted(maps.Keys(seats)))
		if ctx.Err() != nil {
			return err
		}
		if err != nil { // the host comes back with them, and serves meanwhile
			a.cfg.Log.Warn("it cannot be told which instances this host serves; telling it anew of all", "error", err)
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, s := range seats {
		a.seats[name] = s
		delete(a.left, name)
	}
	a.tellMoved()
	return nil
}

// Back tells anew which seats are here, and fills them: what was changed meanwhile may be applied without them.
func (a *Agent) Back(ctx context.Context) error {
	a.telling.Lock()
	a.mu.Lock()
	seats := maps.Clone(a.seats)
	a.mu.Unlock()
	err := a.cfg.Presence.takeSeats(ctx, slices.Sorted(maps.Keys(seats)))
	a.telling.Unlock()
	if err != nil {
		return err
	}
	return a.fillAll(ctx)
}

// leaveSeats tells that seats are here no more, and returns whether all could be told.
func (a *Agent) leaveSeats(ctx context.Context) (err error) {
	a.mu.Lock()
	left := slices.Collect(maps.Keys(a.left))
	a.mu.Unlock()
	for _, name := range left {
		if err := a.leaveSeat(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) leaveSeat(ctx context.Context, name string) error {
	a.telling.Lock()
	defer a.telling.Unlock()
	a.mu.Lock()
	left := a.left[name]
	a.mu.Unlock()
	if left {
		if err := a.cfg.Presence.cfg.Hosts.LeaveSeat(ctx, name); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.left, name)
	return nil
}
