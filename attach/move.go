package attach

import (
	"context"
	"maps"
	"slices"
	"time"
)

// leave notes of instances that were moved away that nobody is answered for them here.
func (a *Attachments) leave(moved map[string]bool) {
	if len(moved) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range moved {
		if a.moved[name] { // and not moved back meanwhile
			a.leaving[name] = true
		}
	}
	select {
	case a.anyLeaving <- struct{}{}:
	default:
	}
}

// letGo tells of what was noted so, until the context ends: the host that they were moved to waits for it.
func (a *Attachments) letGo(ctx context.Context) {
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-a.anyLeaving:
		}
		a.mu.Lock()
		left := slices.Sorted(maps.Keys(a.leaving))
		a.mu.Unlock()
		if len(left) == 0 {
			continue
		}
		err := a.cfg.LetGo(ctx, left)
		if err == nil {
			failing = false
			a.mu.Lock()
			for _, name := range left {
				delete(a.leaving, name)
				delete(a.moved, name)
			}
			a.mu.Unlock()
			continue
		}
		if ctx.Err() == nil && !failing {
			a.cfg.Log.Warn("the host that an instance was moved to could not be told to begin; trying again", "error", err)
		}
		failing = true
		select {
		case <-ctx.Done():
		case <-time.After(reportAgain):
		}
		select {
		case a.anyLeaving <- struct{}{}:
		default:
		}
	}
}
