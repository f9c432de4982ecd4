package client

import (
	"context"
	"fmt"
	"time"

	"github.com/openimds/openimds/api/lightsail/wire"
)

// How often [Wait] asks: soon at first, as a local server is fast, and more seldom then, as Amazon is not; and for how
// long at most.
const (
	firstAsk = 50 * time.Millisecond
	lastAsk  = 2 * time.Second
	waitTime = 20 * time.Minute
)

// Failed says that a change, which was accepted, could not be carried out.
type Failed struct{ Operation wire.Operation }

// Error names the operation and why it failed.
func (f *Failed) Error() string {
	why := f.Operation.ErrorDetails
	if why == "" {
		why = f.Operation.ErrorCode
	}
	return fmt.Sprintf("%s of %s failed: %s", f.Operation.OperationType, f.Operation.ResourceName, why)
}

// Wait waits until all of the operations have ended, for 20 minutes at most, and returns them as they are then. One that
// has not succeeded is a [*Failed].
func Wait(ctx context.Context, c *Client, made []wire.Operation) ([]wire.Operation, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, waitTime, fmt.Errorf("not ended after %s", waitTime))
	defer cancel()
	ended := make([]wire.Operation, len(made))
	copy(ended, made)
	pause := firstAsk
	now := false // after a wait for the one before, this one may have ended, too
	for i := range ended {
		for !ended[i].IsTerminal {
			if !now {
				select {
				case <-ctx.Done():
					return ended, fmt.Errorf("%s of %s: %w", ended[i].OperationType, ended[i].ResourceName, context.Cause(ctx))
				case <-time.After(pause):
				}
				pause = min(pause*3/2, lastAsk)
			}
			is, err := Call(ctx, c, wire.GetOperation, wire.GetOperationRequest{OperationID: wire.NonEmpty(ended[i].ID)})
			if err != nil {
				return ended, err
			}
			ended[i] = is.Operation
			now = ended[i].IsTerminal
		}
	}
	for _, op := range ended {
		if op.Status == "Failed" {
			return ended, &Failed{op}
		}
	}
	return ended, nil
}
