package openimds

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Faults are what an instance's guest meets on purpose, so that authors of clients see what their
// software does then. They stay until they are cleared or the instance is deleted, also over a stop,
// a reboot and a restart of the service: a start is what some of them are about. Numbers are zero
// where a fault is off, and an instance without any fault has no Faults.
type Faults struct {
	// On are the requests that meet latency, failures and refusals; the others are left alone.
	On FaultTarget `json:"on"`
	// LatencyMillis is how long an answer is held back, give or take JitterMillis.
	LatencyMillis int `json:"latencyMillis,omitempty"`
	JitterMillis  int `json:"jitterMillis,omitempty"`
	// Status is what a share of the requests is answered with, from 0 for none to 1 for all.
	Status      int     `json:"status,omitempty"`
	StatusShare float64 `json:"statusShare,omitempty"`
	// RefuseShare is the share of requests whose connection is reset without an answer. No request
	// meets both this and Status.
	RefuseShare float64 `json:"refuseShare,omitempty"`
	// ExpiredCredentials shows all credentials as if their time were over.
	ExpiredCredentials bool `json:"expiredCredentials,omitempty"`
	// AbsentSeconds is how long the endpoint is absent after each start and reboot; AbsentUntil is
	// the end of the latest such time.
	AbsentSeconds int       `json:"absentSeconds,omitempty"`
	AbsentUntil   time.Time `json:"absentUntil,omitzero"`
}

// FaultTarget names the requests that faults are for.
type FaultTarget string

// The requests that faults can be for.
const (
	FaultsOnAll   FaultTarget = "all"
	FaultsOnToken FaultTarget = "token" // PUT: requests for a session token
	FaultsOnData  FaultTarget = "data"  // every other request
)

// The most that faults may be. A client that is kept waiting occupies a connection.
const (
	maxLatency = 5 * time.Minute
	maxAbsent  = time.Hour
)

// FaultsUpdate is a change of an instance's [Faults]; nil keeps the value, and zero ends a fault.
type FaultsUpdate struct {
	// Clear ends all faults before the others are set.
	Clear              bool
	On                 *FaultTarget
	LatencyMillis      *int
	JitterMillis       *int
	Status             *int
	StatusShare        *float64 // of a new Status, without another word: 1
	RefuseShare        *float64
	ExpiredCredentials *bool
	AbsentSeconds      *int
}

// UpdateFaults changes what an instance's guest meets on purpose, from its next request on.
func (s *Service) UpdateFaults(ctx context.Context, name string, u FaultsUpdate) (Operation, error) {
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
		return Operation{}, err
	}
	return d.operations[0], nil
}

// apply returns the faults after the change, of an instance that was started then; nil if none is left.
func (u *FaultsUpdate) apply(was *Faults, launched time.Time) (*Faults, error) {
	f := Faults{On: FaultsOnAll}
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
		f.lifeBegins(launched)
	}
	if err := f.Validate(); err != nil {
		return nil, err
	}
	if f.LatencyMillis == 0 && f.Status == 0 && f.RefuseShare == 0 {
		if f.On != FaultsOnAll && u.On != nil {
			return nil, Errorf(InvalidInput, "", "Faults on %s requests are a latency, a status or refused connections; expired credentials and an absent endpoint are for all", f.On)
		}
		f.On = FaultsOnAll
	}
	if f == (Faults{On: FaultsOnAll}) {
		return nil, nil
	}
	return &f, nil
}

// lifeBegins notes that the instance was started or rebooted.
func (f *Faults) lifeBegins(now time.Time) {
	f.AbsentUntil = time.Time{}
	if f.AbsentSeconds > 0 {
		f.AbsentUntil = now.Add(time.Duration(f.AbsentSeconds) * time.Second)
	}
}

// Latency is how long an answer is held back.
func (f *Faults) Latency() time.Duration { return time.Duration(f.LatencyMillis) * time.Millisecond }

// Jitter is how much the latency differs at most.
func (f *Faults) Jitter() time.Duration { return time.Duration(f.JitterMillis) * time.Millisecond }

// Validate refuses faults that no serving side could carry out.
func (f *Faults) Validate() error {
	if err := oneOf("The requests that faults are for", string(f.On), []string{string(FaultsOnAll), string(FaultsOnToken), string(FaultsOnData)}); err != nil {
		return err
	}
	share := func(x float64) bool { return x >= 0 && x <= 1 } // not so a NaN
	switch {
	case f.LatencyMillis < 0 || f.Latency() > maxLatency:
		return Errorf(InvalidInput, "", "The latency must be 0 to %v, not %v", maxLatency, f.Latency())
	case f.JitterMillis < 0 || f.JitterMillis > f.LatencyMillis:
		return Errorf(InvalidInput, "", "The jitter must be 0 to the latency of %v, not %v", f.Latency(), f.Jitter())
	case f.Status != 0 && (f.Status < 400 || f.Status > 599 || http.StatusText(f.Status) == ""):
		return Errorf(InvalidInput, "", "The status of failures must be one of HTTP's from 400 to 599, not %d", f.Status)
	case !share(f.StatusShare):
		return Errorf(InvalidInput, "", "The share of requests that fail must be 0 to 1, not %v", f.StatusShare)
	case f.Status == 0 && f.StatusShare > 0:
		return Errorf(InvalidInput, "", "A share of requests that fail needs the status that they fail with")
	case !share(f.RefuseShare):
		return Errorf(InvalidInput, "", "The share of connections that are refused must be 0 to 1, not %v", f.RefuseShare)
	case f.StatusShare+f.RefuseShare > 1:
		return Errorf(InvalidInput, "", "The shares of failures and of refused connections must not come to more than 1: %v and %v", f.StatusShare, f.RefuseShare)
	case f.AbsentSeconds < 0 || f.AbsentSeconds > int(maxAbsent/time.Second):
		return Errorf(InvalidInput, "", "The endpoint can be absent for 0 to %d seconds, not %d", int(maxAbsent/time.Second), f.AbsentSeconds)
	}
	return nil
}

// String says in words what is on.
func (f *Faults) String() string {
	if f == nil {
		return "off"
	}
	var words []string
	say := func(on bool, format string, args ...any) {
		if on {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	say(f.LatencyMillis > 0 && f.JitterMillis == 0, "latency %v", f.Latency())
	say(f.JitterMillis > 0, "latency %v ± %v", f.Latency(), f.Jitter())
	say(f.Status != 0, "status %d for %.4g%%", f.Status, 100*f.StatusShare)
	say(f.RefuseShare > 0, "%.4g%% refused", 100*f.RefuseShare)
	if len(words) > 0 && f.On != FaultsOnAll {
		words[len(words)-1] += " (" + string(f.On) + " requests only)"
	}
	say(f.ExpiredCredentials, "expired credentials")
	say(f.AbsentSeconds > 0, "absent for %v after each start", time.Duration(f.AbsentSeconds)*time.Second)
	return strings.Join(words, ", ")
}
