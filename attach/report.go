package attach

import (
	"context"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostnet"
)

// How often at most the store is told of statuses, whatever the host's links do, and how soon again when it did
// not take them.
const (
	reportEvery = 100 * time.Millisecond
	reportAgain = time.Second
)

// tell notes that the status of an attachment is another one. a.mu is held.
func (a *Attachments) tell(name string) {
	a.untold[name] = true
	select {
	case a.anyUntold <- struct{}{}:
	default:
	}
}

// TellAll has all be told anew of how far the attachments are.
func (a *Attachments) TellAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name := range a.wanted {
		a.tell(name)
	}
	for name := range a.ended {
		a.tell(name)
	}
}

// report has what was noted kept, until the context ends.
func (a *Attachments) report(ctx context.Context) {
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-a.anyUntold:
		}
		all := a.takeUntold()
		pause := reportEvery
		err := a.cfg.Report(ctx, all)
		if err != nil && ctx.Err() == nil {
			if pause = reportAgain; !failing {
				a.cfg.Log.Warn("how far attachments are could not be kept; trying again", "error", err)
			}
			a.mu.Lock()
			for _, s := range all {
				a.tell(s.Instance)
			}
			a.mu.Unlock()
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// takeUntold returns the statuses that nobody was told of.
func (a *Attachments) takeUntold() []openimds.AttachmentStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]openimds.AttachmentStatus, 0, len(a.untold))
	for name := range a.untold {
		status := a.known(name)
		if status.State != string(hostnet.Waiting) || a.status[name].ID != "" { // else whoever asks knows as much
			all = append(all, status)
		}
	}
	clear(a.untold)
	return all
}

// Known says how far the attachment is that the instance got at that time; false: nothing is known of it here.
func (a *Attachments) Known(instance string, created time.Time) (openimds.AttachmentStatus, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	status := a.known(instance)
	return status, !created.IsZero() && status.CreatedAt.Equal(created)
}

// known is all that is known of an instance's attachment. a.mu is held.
func (a *Attachments) known(instance string) openimds.AttachmentStatus {
	status := openimds.AttachmentStatus{Instance: instance, CreatedAt: a.ended[instance]}
	if wanted, ok := a.wanted[instance]; ok {
		status.CreatedAt = createdAt(wanted.ID)
	}
	status.State, status.Reason = a.statusOf(instance)
	status.Found = a.foundAt(instance)
	return status
}
