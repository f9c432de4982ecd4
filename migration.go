package openimds

import (
	"slices"
	"time"
)

// MigrationRun is how far "openimds migrate" has carried a plan out, as it told the service itself: what becomes of
// instances is for their options to say.
type MigrationRun struct {
	// ID is of the plan's beginning in its journal, 32 hexadecimal digits: whoever goes on with it has the same one.
	ID string `json:"id"`
	// Plan is the file's name, By the user and the machine that began it, BegunAt when that was.
	Plan    string         `json:"plan"`
	By      string         `json:"by"`
	BegunAt time.Time      `json:"begunAt"`
	State   MigrationState `json:"state"`
	// Reason is why it goes no further; empty: there is none to tell.
	Reason string `json:"reason,omitempty"`
	// StepAt is when something was done last, by the clock of the machine that does it.
	StepAt     time.Time            `json:"stepAt"`
	Waves      []MigrationWave      `json:"waves"`
	Exceptions []MigrationException `json:"exceptions"`
	// MoreExceptions is how many others there are, for which there was no room.
	MoreExceptions int `json:"moreExceptions,omitempty"`
	// Told is the access key that told last, HeardAt when that was, by the service's clock.
	Told    string    `json:"told"`
	HeardAt time.Time `json:"heardAt"`
	// Counts are how many instances are how far, by wave; those of no wave that is listed are under the empty name.
	Counts map[string]map[MigrationStep]int `json:"counts"`
}

// MigrationState is what becomes of a plan.
type MigrationState string

// The states of a plan.
const (
	MigrationRunning     MigrationState = "running"     // tokens are required, and it is watched who is refused
	MigrationUndoing     MigrationState = "undoing"     // what was required is taken back
	MigrationInterrupted MigrationState = "interrupted" // the command has ended in the middle: nobody watches
	MigrationStopped     MigrationState = "stopped"     // somebody was refused, or something failed, and nothing more is required
	MigrationFinished    MigrationState = "finished"
	MigrationUndone      MigrationState = "undone"
)

// MigrationStates are all there are.
func MigrationStates() []MigrationState {
	return []MigrationState{MigrationRunning, MigrationUndoing, MigrationInterrupted, MigrationStopped, MigrationFinished, MigrationUndone}
}

// MigrationStep is how far a plan is with one instance.
type MigrationStep string

// The steps.
const (
	MigrationWaiting   MigrationStep = "waiting"   // nothing was done yet
	MigrationRequiring MigrationStep = "requiring" // tokens are about to be required
	MigrationRequired  MigrationStep = "required"
	MigrationSkipped   MigrationStep = "skipped"  // it is left as it is, for a reason
	MigrationExcepted  MigrationStep = "excepted" // it is left as it is, by an exception of the plan
	MigrationReturning MigrationStep = "returning"
	MigrationReturned  MigrationStep = "returned" // it has the options back that it had, for a caller was refused
	MigrationTakenBack MigrationStep = "undoing"
	MigrationHadBack   MigrationStep = "undone"
	MigrationKept      MigrationStep = "kept" // what somebody else has changed since stays
	MigrationGone      MigrationStep = "gone" // the instance is not there any more
)

// MigrationSteps are all there are.
func MigrationSteps() []MigrationStep {
	return []MigrationStep{
		MigrationWaiting, MigrationRequiring, MigrationRequired, MigrationSkipped, MigrationExcepted, MigrationReturning, MigrationReturned,
		MigrationTakenBack, MigrationHadBack, MigrationKept, MigrationGone,
	}
}

// MigrationWave is a wave of a plan; times that are zero have not come.
type MigrationWave struct {
	Name string `json:"name"`
	// Hold is how long it is watched, BegunAt when its first instance was looked at, HeldUntil until when it is watched,
	// and HeldAt when that was over without a refusal.
	Hold      time.Duration `json:"hold"`
	BegunAt   time.Time     `json:"begunAt,omitzero"`
	HeldUntil time.Time     `json:"heldUntil,omitzero"`
	HeldAt    time.Time     `json:"heldAt,omitzero"`
}

// MigrationException is one of a plan's.
type MigrationException struct {
	Names     []string `json:"names,omitempty"`
	Tags      []string `json:"tags,omitempty"`
	UserAgent string   `json:"userAgent,omitempty"`
	Source    string   `json:"source,omitempty"`
	Owner     string   `json:"owner"`
	Reason    string   `json:"reason,omitempty"`
	// Until is the first moment at which it does not hold any more.
	Until time.Time `json:"until"`
}

// MigratedInstance is how far a plan is with an instance.
type MigratedInstance struct {
	// Place is the instance's in the plan, from 0 on.
	Place int           `json:"place"`
	Name  string        `json:"name"`
	Wave  string        `json:"wave,omitempty"`
	Step  MigrationStep `json:"step"`
	// At is when that was; zero: nothing was done.
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason,omitempty"`
	// Owner answers for the exception by which it was left, and Until is that one's end.
	Owner string    `json:"owner,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

// The most that is told of a plan: instances in one request, waves and exceptions, names and tags of an exception, bytes of
// a text, and of all texts but those of instances. So a commit of it is never above the 1.5 MB that etcd takes.
const (
	MaxMigrationTold  = 32
	MaxMigrationList  = 100
	MaxMigrationNames = 20
	MaxMigrationText  = 300
	MaxMigrationTexts = 64 << 10
)

// How often a command tells how far it is when nothing happens, and after how long without a word it is not known whether
// it is still at work.
const (
	MigrationHeartbeat = 15 * time.Second
	MigrationSilence   = 3 * MigrationHeartbeat
)

// Ended says that nobody is at work with it.
func (r *MigrationRun) Ended() bool {
	return r.State != MigrationRunning && r.State != MigrationUndoing
}

// Silent says that the command should have been heard of and was not: it was killed, or cannot reach the service.
func (r *MigrationRun) Silent(now time.Time) bool {
	return !r.Ended() && now.Sub(r.HeardAt).Abs() > MigrationSilence
}

// Instances is how many it has.
func (r *MigrationRun) Instances() (n int) {
	for _, wave := range r.Counts {
		for _, of := range wave {
			n += of
		}
	}
	return n
}

// Wave is the wave that an instance is counted with: its own, or none where that is not listed.
func (r *MigrationRun) Wave(name string) string {
	if slices.ContainsFunc(r.Waves, func(w MigrationWave) bool { return w.Name == name }) {
		return name
	}
	return ""
}
