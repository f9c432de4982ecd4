package control

import (
	"context"
	"errors"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// HealthWindow is how long ago a status check may have been made to count as one of now.
const HealthWindow = 5 * time.Minute

// Impaired says whether a host fails to serve an instance where it is attached. One that is attached nowhere is
// served by whatever listener is its own, and is not impaired.
//
// Errors: Unavailable/StoreAway.
func (s *Service) Impaired(ctx context.Context, in *openimds.Instance) (bool, error) {
	r, err := s.store.Get(ctx, records.AttachmentPrefix+in.Name)
	if errors.Is(err, store.ErrNoRecord) {
		return false, nil
	}
	if err != nil {
		return false, storeFailed(err)
	}
	a, err := records.DecodeAttachment(r)
	if err != nil {
		return true, nil // no host can carry out what cannot be read
	}
	status, err := s.attachmentStatus(ctx, a)
	if err != nil {
		return false, err
	}
	return status.State != "attached", nil
}

// checkPoint returns the one point that a metric of status checks has: of the latest minute that the time has.
// What the checks found earlier is not kept, so a time that ends long ago is refused rather than shown empty. An
// instance that does not run is not checked.
func (s *Service) checkPoint(ctx context.Context, in *openimds.Instance, metric string, start, end time.Time, period time.Duration) ([]openimds.MetricPoint, error) {
	now := s.cfg.Now()
	start = start.Truncate(time.Minute)
	at := now
	if !at.Before(end) {
		at = end.Add(-1)
	}
	at = at.Truncate(time.Minute)
	if at.Before(start) || now.Sub(at) > HealthWindow {
		return nil, openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "What %s was earlier is not kept: ask for a time that has the last %d minutes", metric, HealthWindow/time.Minute)
	}
	if in.State != openimds.StateRunning {
		return nil, nil
	}
	impaired, err := s.Impaired(ctx, in)
	if err != nil {
		return nil, err
	}
	value := 0.0
	if impaired && metric != openimds.MetricInstanceCheck { // of the guest itself nothing is known
		value = 1
	}
	return []openimds.MetricPoint{{Start: start.Add(at.Sub(start).Truncate(period)), Sum: value, Min: value, Max: value, Samples: 1}}, nil
}
