package control

import (
	"context"
	"time"

	"github.com/openimds/openimds"
)

// FaultsUpdate is a change of an instance's [openimds.Faults]; nil keeps the value, and zero ends a fault.
type FaultsUpdate struct {
	// Clear ends all faults before the others are set.
	Clear              bool
	On                 *openimds.FaultTarget
	LatencyMillis      *int
	JitterMillis       *int
	Status             *int
	StatusShare        *float64 // of a new Status, without another word: 1
	RefuseShare        *float64
	ExpiredCredentials *bool
	AbsentSeconds      *int
}

// UpdateFaults changes what an instance's guest meets on purpose, from its next request on.
//
// Errors: InvalidInput/UnknownValue, InvalidInput/OutOfRange, InvalidInput/Incomplete and InvalidInput/Conflicting
// for faults that cannot be; NotFound/DoesNotExist.
func (s *Service) UpdateFaults(ctx context.Context, name string, u FaultsUpdate) (openimds.Operation, error) {
	d, err := s.commit(ctx, "UpdateInstanceFaults", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		if in.Faults, err = u.apply(in.Faults, in.LaunchedAt); err != nil {
			return err
		}
		d.putInstance(was, in)
		d.operation(instanceOperation("UpdateInstanceFaults", in))
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// apply returns the faults after the change, of an instance that was started then; nil if none is left.
func (u *FaultsUpdate) apply(was *openimds.Faults, launched time.Time) (*openimds.Faults, error) {
	f := openimds.Faults{On: openimds.FaultsOnAll}
	if was != nil && !u.Clear {
		f = *was
	}
	set(&f.On, u.On)
	set(&f.LatencyMillis, u.LatencyMillis)
	if set(&f.JitterMillis, u.JitterMillis); u.JitterMillis == nil && f.LatencyMillis == 0 {
		f.JitterMillis = 0
	}
	switch set(&f.Status, u.Status); {
	case f.Status == 0:
		f.StatusShare = 0
	case f.StatusShare == 0:
		f.StatusShare = 1
	}
	set(&f.StatusShare, u.StatusShare)
	if f.StatusShare == 0 {
		f.Status = 0
	}
	set(&f.RefuseShare, u.RefuseShare)
	set(&f.ExpiredCredentials, u.ExpiredCredentials)
	if u.AbsentSeconds != nil {
		f.AbsentSeconds = *u.AbsentSeconds
		faultsBegin(&f, launched)
	}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if f.LatencyMillis == 0 && f.Status == 0 && f.RefuseShare == 0 {
		if f.On != openimds.FaultsOnAll && u.On != nil {
			return nil, openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "Faults on %s requests are a latency, a status or refused connections; expired credentials and an absent endpoint are for all", f.On)
		}
		f.On = openimds.FaultsOnAll
	}
	if f == (openimds.Faults{On: openimds.FaultsOnAll}) {
		return nil, nil
	}
	return &f, nil
}

// faultsBegin notes that the instance was started or rebooted.
func faultsBegin(f *openimds.Faults, now time.Time) {
	f.AbsentUntil = time.Time{}
	if f.AbsentSeconds > 0 {
		f.AbsentUntil = now.Add(time.Duration(f.AbsentSeconds) * time.Second)
	}
}
