package openimds

import (
	"fmt"
	"net/http"
	"slices"
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
	MaxLatency = 5 * time.Minute
	MaxAbsent  = time.Hour
)

// Latency is how long an answer is held back.
func (f *Faults) Latency() time.Duration { return time.Duration(f.LatencyMillis) * time.Millisecond }

// Jitter is how much the latency differs at most.
func (f *Faults) Jitter() time.Duration { return time.Duration(f.JitterMillis) * time.Millisecond }

// Validate refuses faults that no serving side could carry out.
func (f *Faults) Validate() error {
	if targets := []FaultTarget{FaultsOnAll, FaultsOnToken, FaultsOnData}; !slices.Contains(targets, f.On) {
		return Errorf(InvalidInput, UnknownValue, "%s must be one of %v, not %.60q", FieldFaultTarget, targets, f.On)
	}
	share := func(x float64) bool { return x >= 0 && x <= 1 } // not so a NaN
	switch {
	case f.LatencyMillis < 0 || f.Latency() > MaxLatency:
		return Errorf(InvalidInput, OutOfRange, "The latency must be 0 to %v, not %v", MaxLatency, f.Latency())
	case f.JitterMillis < 0 || f.JitterMillis > f.LatencyMillis:
		return Errorf(InvalidInput, OutOfRange, "The jitter must be 0 to the latency of %v, not %v", f.Latency(), f.Jitter())
	case f.Status != 0 && (f.Status < 400 || f.Status > 599 || http.StatusText(f.Status) == ""):
		return Errorf(InvalidInput, OutOfRange, "The status of failures must be one of HTTP's from 400 to 599, not %d", f.Status)
	case !share(f.StatusShare):
		return Errorf(InvalidInput, OutOfRange, "The share of requests that fail must be 0 to 1, not %v", f.StatusShare)
	case f.Status == 0 && f.StatusShare > 0:
		return Errorf(InvalidInput, Incomplete, "A share of requests that fail needs the status that they fail with")
	case !share(f.RefuseShare):
		return Errorf(InvalidInput, OutOfRange, "The share of connections that are refused must be 0 to 1, not %v", f.RefuseShare)
	case f.StatusShare+f.RefuseShare > 1:
		return Errorf(InvalidInput, OutOfRange, "The shares of failures and of refused connections must not come to more than 1: %v and %v", f.StatusShare, f.RefuseShare)
	case f.AbsentSeconds < 0 || f.AbsentSeconds > int(MaxAbsent/time.Second):
		return Errorf(InvalidInput, OutOfRange, "The endpoint can be absent for 0 to %d seconds, not %d", int(MaxAbsent/time.Second), f.AbsentSeconds)
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
