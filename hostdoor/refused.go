package hostdoor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostlink"
)

// What a host may say of refused calls: reasons as this release's are called, and so many of them; ids of its own making,
// which nobody is shown.
const (
	maxReasons = 64
	maxCountID = 80 // bytes
)

var reasonForm = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// refusedEarly is how far the clock of a host may be from the replica's for what it tells.
const refusedEarly = 24 * time.Hour

// checkRefused refuses what no host counts.
func checkRefused(all []hostlink.Refused) error {
	now := time.Now()
	for _, r := range all {
		apart := r.At.Sub(now).Abs()
		if openimds.ValidateName(r.Instance) != nil || len(r.InstanceID) > maxCountID || len(r.Watch) > maxCountID || len(r.Counter) > maxCountID ||
			r.NoToken < 0 || len(r.Refusals) > maxReasons || apart > refusedEarly {
			return malformed("refused calls are told in a form that no host counts")
		}
		for _, of := range r.Refusals {
			if !reasonForm.MatchString(of.Reason) || of.Count < 0 || of.Status < 0 || of.Status > 999 {
				return malformed("refused calls are told for a reason that there cannot be")
			}
		}
	}
	return nil
}

// keepRefused keeps what the host has refused to guests of its own, for whoever waits for it.
func (c *call) keepRefused(ctx context.Context, stays *control.StaysOf, all []hostlink.Refused) error {
	others := 0
	for _, r := range all {
		h, err := c.hosted(hostlink.Of{Region: r.Region, Process: r.Process})
		if err != nil {
			return err
		}
		err = h.KeepRefused(ctx, stays, r.Refused)
		if errors.Is(err, control.ErrNotServed) {
			others++
			continue
		}
		if err != nil {
			return err
		}
	}
	if others > 0 {
		c.audit("", fmt.Sprintf("%d of the refused calls are not of this host's instances", others))
	}
	return nil
}
