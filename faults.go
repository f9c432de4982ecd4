package openimds

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Faults are what an instance's guest meets on purpose, so that authors of clients see what their
// software does then. They stay until they are cleared, end by themselves ([Faults.Over]) or the instance
// is deleted, also over a stop, a reboot and a restart of the service: a start is what some of them are
// about. Numbers are zero where a fault is off, and an instance without any fault has no Faults.
type Faults struct {
	// On are the requests that meet latency, failures, refusals and drops; the others are left alone.
	On FaultTarget `json:"on"`
	// LatencyMillis is how long an answer is held back, give or take JitterMillis, of a share of the
	// requests; a LatencyShare of 0 means all of them.
	LatencyMillis int     `json:"latencyMillis,omitempty"`
	JitterMillis  int     `json:"jitterMillis,omitempty"`
	LatencyShare  float64 `json:"latencyShare,omitempty"`
	// Status is what a share of the requests is answered with, from 0 for none to 1 for all.
	Status      int     `json:"status,omitempty"`
	StatusShare float64 `json:"statusShare,omitempty"`
	// RefuseShare is the share of requests whose connection is reset without an answer, and DropShare of
	// those that never hear anything: their connection stays open, and silent, as where packets are lost. A
	// request meets one of these, or Status and the latency: these two begin with the same requests.
	RefuseShare float64 `json:"refuseShare,omitempty"`
	DropShare   float64 `json:"dropShare,omitempty"`
	// ExpiredCredentials shows all credentials as if their time were over.
	ExpiredCredentials bool `json:"expiredCredentials,omitempty"`
	// AbsentSeconds is how long the endpoint is absent after each start and reboot; AbsentUntil is
	// the end of the latest such time.
	AbsentSeconds int       `json:"absentSeconds,omitempty"`
	AbsentUntil   time.Time `json:"absentUntil,omitzero"`

	// Until is when all of these end by themselves; the zero time: not by time. Since is when that was said.
	Until time.Time `json:"until,omitzero"`
	Since time.Time `json:"since,omitzero"`
	// Count is how many requests meet a latency, a status, a refusal or a drop until all of these end; 0:
	// however many. Met is how many have since CountedFrom, as far as the hosts have told by now.
	Count       int       `json:"count,omitempty"`
	Met         int       `json:"met,omitempty"`
	CountedFrom time.Time `json:"countedFrom,omitzero"`
}

// FaultTarget names the requests that faults are for: one of the words below, or a path below the version,
// such as "meta-data/iam", for all requests but PUT of it and of what lies below it, under every version.
type FaultTarget string

// The requests that faults can be for, apart from those of a path.
const (
	FaultsOnAll   FaultTarget = "all"
	FaultsOnToken FaultTarget = "token" // PUT: requests for a session token
	FaultsOnData  FaultTarget = "data"  // every other request
)

// The most that faults may be. A client that is kept waiting occupies a connection; one that is dropped hears
// of the end of it after MaxSilence, if it still waits.
const (
	MaxLatency    = 5 * time.Minute
	MaxSilence    = 5 * time.Minute
	MaxAbsent     = time.Hour
	MaxFaultsFor  = 7 * 24 * time.Hour
	MaxFaultCount = 1_000_000_000

	maxFaultPath = 512 // bytes, as the paths of an overlay
)

// Path is the path that the target is; false: it is one of the words.
func (t FaultTarget) Path() (string, bool) {
	switch t {
	case FaultsOnAll, FaultsOnToken, FaultsOnData:
		return "", false
	}
	return string(t), true
}

// isPath says whether a target that is none of the words can be asked for.
func (t FaultTarget) isPath() bool {
	path := string(t)
	if len(path) > maxFaultPath || !utf8.ValidString(path) || strings.ContainsFunc(path, unicode.IsControl) {
		return false
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." {
			return false
		}
	}
	return true
}

// Over says whether the faults have ended by themselves.
func (f *Faults) Over(now time.Time) bool {
	return f.TimeOver(now) || f.Count > 0 && f.Met >= f.Count
}

// TimeOver says whether they have ended by time, which they have, too, where the clock was turned back behind its beginning.
func (f *Faults) TimeOver(now time.Time) bool {
	return !f.Until.IsZero() && !within(now, f.Since, f.Until)
}

// Absent says whether the endpoint is absent after a start.
func (f *Faults) Absent(now time.Time) bool {
	return within(now, f.AbsentUntil.Add(-time.Duration(f.AbsentSeconds)*time.Second), f.AbsentUntil)
}

// OnRequests says whether there is any fault that is for the requests of On: a latency, a status, refused or
// dropped connections.
func (f *Faults) OnRequests() bool {
	return f.LatencyMillis > 0 || f.Status != 0 || f.RefuseShare > 0 || f.DropShare > 0
}

// Latency is how long an answer is held back.
func (f *Faults) Latency() time.Duration { return time.Duration(f.LatencyMillis) * time.Millisecond }

// Jitter is how much the latency differs at most.
func (f *Faults) Jitter() time.Duration { return time.Duration(f.JitterMillis) * time.Millisecond }

// Validate refuses faults that no serving side could carry out.
func (f *Faults) Validate() error {
	if _, path := f.On.Path(); path && !f.On.isPath() {
		return UnknownFaultTarget(string(f.On))
	}
	// A request's path is decoded before it is compared, so one that is written as in a URL is met by nobody.
	if path, err := url.PathUnescape(string(f.On)); err == nil && path != string(f.On) {
		return Errorf(InvalidInput, UnknownValue, "%s must be a path as it is, not as in a URL: %.60q, not %.60q", FieldFaultTarget, path, f.On)
	}
	share := func(x float64) bool { return x >= 0 && x <= 1 } // not so a NaN
	switch {
	case f.LatencyMillis < 0 || f.Latency() > MaxLatency:
		return Errorf(InvalidInput, OutOfRange, "The latency must be 0 to %v, not %v", Brief(MaxLatency), Brief(f.Latency()))
	case f.JitterMillis < 0 || f.JitterMillis > f.LatencyMillis:
		return Errorf(InvalidInput, OutOfRange, "The jitter must be 0 to the latency of %v, not %v", Brief(f.Latency()), Brief(f.Jitter()))
	case !share(f.LatencyShare):
		return Errorf(InvalidInput, OutOfRange, "The share of requests that are held back must be 0 to 1, not %v", f.LatencyShare)
	case f.LatencyMillis == 0 && f.LatencyShare > 0:
		return Errorf(InvalidInput, Incomplete, "A share of requests that are held back needs the latency")
	case f.Status != 0 && (f.Status < 400 || f.Status > 599 || http.StatusText(f.Status) == ""):
		return Errorf(InvalidInput, OutOfRange, "The status of failures must be one of HTTP's from 400 to 599, not %d", f.Status)
	case !share(f.StatusShare):
		return Errorf(InvalidInput, OutOfRange, "The share of requests that fail must be 0 to 1, not %v", f.StatusShare)
	case f.Status == 0 && f.StatusShare > 0:
		return Errorf(InvalidInput, Incomplete, "A share of requests that fail needs the status that they fail with")
	case !share(f.RefuseShare):
		return Errorf(InvalidInput, OutOfRange, "The share of connections that are refused must be 0 to 1, not %v", f.RefuseShare)
	case !share(f.DropShare):
		return Errorf(InvalidInput, OutOfRange, "The share of connections that are dropped must be 0 to 1, not %v", f.DropShare)
	case f.StatusShare+f.RefuseShare+f.DropShare > 1+roundingOfShares:
		return Errorf(InvalidInput, OutOfRange, "The shares of failures, of refused and of dropped connections must not come to more than 1: %v, %v and %v", f.StatusShare, f.RefuseShare, f.DropShare)
	case f.AbsentSeconds < 0 || f.AbsentSeconds > int(MaxAbsent/time.Second):
		return Errorf(InvalidInput, OutOfRange, "The endpoint can be absent for 0 to %d seconds, not %d", int(MaxAbsent/time.Second), f.AbsentSeconds)
	case f.Count < 0 || f.Count > MaxFaultCount || f.Met < 0:
		return Errorf(InvalidInput, OutOfRange, "The faults can end after 1 to %d requests, or 0 for never, not %d", MaxFaultCount, f.Count)
	case f.Count > 0 && !f.OnRequests():
		return Errorf(InvalidInput, Incomplete, "Requests are counted that meet a latency, a status, or a refused or dropped connection: none of these is on")
	}
	return nil
}

// roundingOfShares is by how much a sum of shares may be off that come to 1, such as 0.7, 0.2 and 0.1.
const roundingOfShares = 1e-9

// UnknownFaultTarget refuses what no requests are named by.
func UnknownFaultTarget(text string) error {
	return Errorf(InvalidInput, UnknownValue, "%s must be one of %v or a path such as meta-data/iam, not %.60q", FieldFaultTarget,
		[]FaultTarget{FaultsOnAll, FaultsOnToken, FaultsOnData}, text)
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
	held := ""
	if f.LatencyShare > 0 {
		held = fmt.Sprintf(" for %.4g%%", 100*f.LatencyShare)
	}
	say(f.LatencyMillis > 0 && f.JitterMillis == 0, "latency %v%s", Brief(f.Latency()), held)
	say(f.JitterMillis > 0, "latency %v ± %v%s", Brief(f.Latency()), Brief(f.Jitter()), held)
	say(f.Status != 0, "status %d for %.4g%%", f.Status, 100*f.StatusShare)
	say(f.RefuseShare > 0, "%.4g%% refused", 100*f.RefuseShare)
	say(f.DropShare > 0, "%.4g%% dropped", 100*f.DropShare)
	if path, ok := f.On.Path(); len(words) > 0 && ok {
		words[len(words)-1] += " (requests of " + path + " only)"
	} else if len(words) > 0 && f.On != FaultsOnAll {
		words[len(words)-1] += " (" + string(f.On) + " requests only)"
	}
	say(f.ExpiredCredentials, "expired credentials")
	say(f.AbsentSeconds > 0, "absent for %v after each start", Brief(time.Duration(f.AbsentSeconds)*time.Second))
	say(f.Count > 0, "until %d requests have met them (%d so far)", f.Count, min(f.Met, f.Count))
	say(!f.Until.IsZero(), "until %s", f.Until.UTC().Format("2006-01-02 15:04:05 UTC"))
	return strings.Join(words, ", ")
}
