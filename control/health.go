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

// Health is what the status checks of an instance say now.
type Health struct {
	// Checked says that they are made: only an instance that runs is checked.
	Checked bool
	// Impaired says that a host fails to serve the instance where it is attached. One that is attached nowhere is
	// served by whatever listener is its own, and is not impaired.
	Impaired bool
	// Since is when that began; zero: it is not known.
	Since time.Time
}

// Health tells what the status checks say of an instance.
//
// Errors: Unavailable/StoreAway.
func (s *Service) Health(ctx context.Context, in *openimds.Instance) (Health, error) {
	if in.State != openimds.StateRunning {
		return Health{}, nil
	}
	health := Health{Checked: true}
	r, err := s.store.Get(ctx, records.AttachmentPrefix+in.Name)
	if errors.Is(err, store.ErrNoRecord) {
		return health, nil
	}
	if err != nil {
		return Health{}, storeFailed(err)
	}
	a, err := records.DecodeAttachment(r)
	if err != nil {
		health.Impaired = true // no host can carry out what cannot be read
		return health, nil
	}
	status, err := s.attachmentStatus(ctx, a)
	if err != nil {
		return Health{}, err
	}
	if status.State == "attached" {
		return health, nil
	}
	health.Impaired = true
	health.Since, err = s.statusSince(ctx, status)
	if health.Since.Before(in.LaunchedAt) && !health.Since.IsZero() {
		health.Since = in.LaunchedAt
	}
	return health, err
}

// statusSince is since when an attachment has the state that it has; zero where that was not told.
func (s *Service) statusSince(ctx context.Context, status openimds.AttachmentStatus) (time.Time, error) {
	r, err := s.store.Get(ctx, records.StatusKey(status.Instance))
	if errors.Is(err, store.ErrNoRecord) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, storeFailed(err)
	}
	told, err := records.Decode[openimds.AttachmentStatus](r)
	if err != nil || told.State != status.State || !told.CreatedAt.Equal(status.CreatedAt) {
		return time.Time{}, nil
	}
	return told.At, nil
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
	health, err := s.Health(ctx, in)
	if err != nil || !health.Checked {
		return nil, err
	}
	value := 0.0
	if health.Impaired && metric != openimds.MetricInstanceCheck { // of the guest itself nothing is known
		value = 1
	}
	return []openimds.MetricPoint{{Start: start.Add(at.Sub(start).Truncate(period)), Sum: value, Min: value, Max: value, Samples: 1}}, nil
}
