package control

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

// FaultsUpdate is a change of an instance's [openimds.Faults]; nil keeps the value, and zero ends a fault.
type FaultsUpdate struct {
	// Clear ends all faults before the others are set.
	Clear              bool
	On                 *openimds.FaultTarget
	LatencyMillis      *int
	JitterMillis       *int
	LatencyShare       *float64 // of a new latency, without another word: 1
	Status             *int
	StatusShare        *float64 // of a new Status, without another word: 1
	RefuseShare        *float64
	DropShare          *float64
	ExpiredCredentials *bool
	AbsentSeconds      *int

	// Share is that of the latency and of the status which this change names; if it names neither, of those
	// that are on.
	Share *float64
	// ForMillis is in how long all faults end, from now on. Count is how many requests meet them until they
	// end, from now on. Zero is never.
	ForMillis *int
	Count     *int
}

// UpdateFaults changes what an instance's guest meets on purpose, from its next request on.
//
// Those that end by themselves ([openimds.Faults.Over]) do so wherever the instance is served, also over restarts.
//
// Errors: InvalidInput/UnknownValue, InvalidInput/OutOfRange, InvalidInput/Incomplete and InvalidInput/Conflicting
// for faults that cannot be; NotFound/DoesNotExist.
func (s *Service) UpdateFaults(ctx context.Context, name string, u FaultsUpdate) (openimds.Operation, error) {
	d, err := s.commit(ctx, "UpdateInstanceFaults", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		if in.Faults, err = u.apply(in, d.now); err != nil {
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

// apply returns the faults of the instance after the change; nil if none is left.
func (u FaultsUpdate) apply(in *openimds.Instance, now time.Time) (*openimds.Faults, error) {
	f := openimds.Faults{On: openimds.FaultsOnAll}
	if in.Faults != nil && !u.Clear {
		f = *in.Faults
	}
	if u.On != nil {
		var err error
		if f.On, err = faultTarget(string(*u.On), in); err != nil {
			return nil, err
		}
	}
	if err := u.share(&f); err != nil {
		return nil, err
	}
	u.setRequests(&f)
	set(&f.ExpiredCredentials, u.ExpiredCredentials)
	if u.AbsentSeconds != nil {
		f.AbsentSeconds = *u.AbsentSeconds
		faultsBegin(&f, in.LaunchedAt)
	}
	if err := u.setEnd(&f, now); err != nil {
		return nil, err
	}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if !f.OnRequests() {
		if f.On != openimds.FaultsOnAll && u.On != nil {
			return nil, openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "Faults on %s requests are a latency, a status, refused or dropped connections; expired credentials and an absent endpoint are for all", f.On)
		}
		f.On = openimds.FaultsOnAll
	}
	if f.OnRequests() || f.ExpiredCredentials || f.AbsentSeconds > 0 {
		return &f, nil
	}
	if u.ForMillis != nil && *u.ForMillis > 0 {
		return nil, openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "No fault is on that could end in %v", openimds.Brief(time.Duration(*u.ForMillis)*time.Millisecond))
	}
	return nil, nil
}

// share says of which faults the update's Share is that.
func (u *FaultsUpdate) share(f *openimds.Faults) error {
	if u.Share == nil {
		return nil
	}
	latency, status := u.LatencyMillis != nil && *u.LatencyMillis != 0, u.Status != nil && *u.Status != 0
	if !latency && !status {
		latency, status = f.LatencyMillis > 0 && u.LatencyMillis == nil, f.Status != 0 && u.Status == nil
	}
	switch {
	case latency && u.LatencyShare != nil, status && u.StatusShare != nil:
		return openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "The share of the same fault is given twice")
	case !latency && !status:
		return openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "A share needs the latency or the status that it is of; refused and dropped connections are shares themselves")
	}
	if latency {
		u.LatencyShare = u.Share
	}
	if status {
		u.StatusShare = u.Share
	}
	return nil
}

// setRequests changes what requests meet.
func (u *FaultsUpdate) setRequests(f *openimds.Faults) {
	set(&f.LatencyMillis, u.LatencyMillis)
	set(&f.JitterMillis, u.JitterMillis)
	set(&f.LatencyShare, u.LatencyShare)
	switch {
	case f.LatencyMillis == 0 && u.LatencyShare == nil, f.LatencyMillis > 0 && f.LatencyShare == 1:
		f.LatencyShare = 0 // nothing that it could be of, or all of them
	case f.LatencyShare == 0 && u.LatencyShare != nil:
		f.LatencyMillis = 0
	}
	if f.LatencyMillis == 0 && u.JitterMillis == nil {
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
	set(&f.DropShare, u.DropShare)
}

// setEnd changes when the faults end by themselves.
func (u *FaultsUpdate) setEnd(f *openimds.Faults, now time.Time) error {
	if u.ForMillis != nil {
		most := int(openimds.MaxFaultsFor / time.Millisecond)
		if *u.ForMillis < 0 || *u.ForMillis > most {
			return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "The faults can end in 1 to %d milliseconds, or 0 for never, not %d", most, *u.ForMillis)
		}
		f.Until, f.Since = time.Time{}, time.Time{}
		if *u.ForMillis > 0 {
			f.Since, f.Until = now, now.Add(time.Duration(*u.ForMillis)*time.Millisecond)
		}
	}
	if u.Count != nil {
		f.Count, f.Met = *u.Count, 0
		if now = now.Round(0); !now.After(f.CountedFrom) {
			now = f.CountedFrom.Add(1) // it tells this counting from the one before
		}
		f.CountedFrom = now
	}
	if f.Count == 0 || u.Count == nil && !f.OnRequests() {
		f.Count, f.Met, f.CountedFrom = 0, 0, time.Time{}
	}
	return nil
}

// faultTarget is the target that a text names: a path may have a version in front, and slashes around it, as it
// stands in requests.
func faultTarget(text string, in *openimds.Instance) (openimds.FaultTarget, error) {
	target := openimds.FaultTarget(strings.Trim(text, "/"))
	path, isPath := target.Path()
	if !isPath && text == string(target) {
		return target, nil
	}
	path = metadata.Below(path)
	first, _, _ := strings.Cut(path, "/")
	if path == "api/token" {
		return openimds.FaultsOnToken, nil
	}
	// A misspelt word is no path that nobody asks for.
	known := slices.Contains(metadata.Groups(), first) || in.Recorded != nil
	for laid := range in.Overlay {
		known = known || laid == first || strings.HasPrefix(laid, first+"/")
	}
	if !known {
		return "", openimds.UnknownFaultTarget(text)
	}
	return openimds.FaultTarget(path), nil
}

// FaultsMet says that so many more requests than before have met the counted faults of an instance (by its name
// and id), which were counted from that time on, and returns how many have in all. Faults that are over, by that or
// by their time, end with it: also with none more. What other faults the instance has by now stays as it is.
func (s *Service) FaultsMet(ctx context.Context, name, id string, from time.Time, more int) (all int, err error) {
	_, err = s.commit(ctx, "EndFaults", func(d *draft) error {
		all = 0
		in, was, err := find[*openimds.Instance](ctx, s.store, openimds.TypeInstance, name)
		switch {
		case openimds.KindOf(err) == openimds.NotFound:
			return nil
		case err != nil:
			return err
		case in.ID != id || in.Faults == nil:
			return nil
		}
		f := in.Faults
		counts := more > 0 && f.Count > 0 && f.CountedFrom.Equal(from)
		if counts {
			f.Met = min(f.Met+more, f.Count)
			all = f.Met
		}
		switch {
		case f.Over(d.now):
			in.Faults = nil
			d.putInstance(was, in)
		case counts:
			d.note(was, in) // as other counts: no change that anybody asked for
		}
		return nil
	})
	return all, err
}

// present takes the faults from an instance that are over; the record is brought up to date by who serves it.
func (s *Service) present(in *openimds.Instance) {
	if in != nil && in.Faults != nil && in.Faults.Over(s.cfg.Now()) {
		in.Faults = nil
	}
}

// faultsBegin notes that the instance was started or rebooted.
func faultsBegin(f *openimds.Faults, now time.Time) {
	f.AbsentUntil = time.Time{}
	if f.AbsentSeconds > 0 {
		f.AbsentUntil = now.Add(time.Duration(f.AbsentSeconds) * time.Second)
	}
}
