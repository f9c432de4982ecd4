package migrate

import (
	"context"
	"errors"
	"time"
)

// ErrGone means that an instance is not there any more; its name may be another one's by now.
var ErrGone = errors.New("the instance is gone")

// Provider is a control API with its instances. Its methods try again by themselves what may pass and cannot
// happen twice. They are safe for use by many goroutines.
type Provider interface {
	// Name is how plans and journals call the provider.
	Name() string
	// Regions are those whose instances it has.
	Regions() []string
	// Instances returns all instances, by region and name.
	Instances(ctx context.Context) ([]Instance, error)
	// Instance returns one as it is now. Errors: [ErrGone], also if another one has the name.
	Instance(ctx context.Context, of Ref) (Instance, error)
	// Calls tells what is known of an instance's calls since a time. What it does not know it leaves out; an
	// error means that nothing is known.
	Calls(ctx context.Context, of Instance, since time.Time) (Calls, error)
	// SetOptions makes those of the instance's options these that are not empty in to, whatever they are, and does
	// not wait until they are applied. What is empty in to stays as it is. It may be repeated. Errors: [ErrGone].
	SetOptions(ctx context.Context, of Ref, to Options) error
	// Watch begins to look for refused calls, of no instance yet.
	Watch() Watch
}

// Watch tells of calls that were refused for want of a token. It is for one goroutine that calls Next and
// any number that call Add and Remove.
type Watch interface {
	// Add has the watch tell of the instance's calls that are refused from now on or, if since is not zero,
	// from then on, by the provider's clock. It returns that clock's now. An error means that nobody would
	// see a refusal.
	Add(ctx context.Context, of Ref, since time.Time) (now time.Time, err error)
	// Remove ends that.
	Remove(of Ref)
	// Next waits for refusals, but not for longer than it is worth to look again. until is up to when it has
	// told of all of them, by this machine's clock. An error means that it does not know.
	Next(ctx context.Context) (refused []Refusal, until time.Time, err error)
}

// Refusal is a call of an instance that was refused for want of a token.
type Refusal struct {
	Instance Ref `json:"instance"`
	// Caller is who called, if that is known.
	Caller *Caller `json:"caller,omitempty"`
	// Time of the latest, by the provider's clock; zero: not known.
	Time time.Time `json:"time,omitzero"`
	// Count is how many there were as far as is known; 0: not known.
	Count int64 `json:"count,omitempty"`
}

// Who is the caller in a few words.
func (r Refusal) Who() string {
	if r.Caller == nil {
		return "a caller that nobody can name"
	}
	return r.Caller.String()
}

// Caller is who called an instance's metadata service.
type Caller struct {
	Source    string `json:"source,omitempty"`
	UserAgent string `json:"userAgent,omitempty"`
	PathGroup string `json:"pathGroup,omitempty"`
	// Process is the command line of the process that it is, without secrets, Period how often it comes and
	// Advice what there is to do, in words; empty: not known.
	Process string   `json:"process,omitempty"`
	Period  string   `json:"period,omitempty"`
	Advice  []string `json:"advice,omitempty"`
	// ForHop says that all there is to do about its calls without a token is another hop limit; nil: nobody says.
	ForHop *bool `json:"-"`
	// NoToken and Rejected are its calls without a token in the time asked for: those answered or failed
	// otherwise, and those refused for want of one. Failed are those of NoToken that no metric has.
	NoToken  int64 `json:"noToken"`
	Rejected int64 `json:"rejected"`
	Failed   int64 `json:"failed,omitempty"`
	// WithToken are its calls with a token in that time.
	WithToken int64 `json:"withToken,omitempty"`
	// FirstNoToken and LastNoToken are its first and last call without a token; zero: none.
	FirstNoToken time.Time `json:"firstNoToken,omitzero"`
	LastNoToken  time.Time `json:"lastNoToken,omitzero"`
	// Lost is how many tokens did not reach it in that time, and LostLast when one did not, at the hop limit LostAt,
	// which may have been before; NeededHopLimit is what would (0: not known). It is a caller of version 2 that looks
	// like one of version 1.
	Lost           int64     `json:"lost,omitempty"`
	LostLast       time.Time `json:"lostLast,omitzero"`
	LostAt         int       `json:"lostAt,omitempty"`
	NeededHopLimit int       `json:"neededHopLimit,omitempty"`
}

// String is the caller in one line.
func (c Caller) String() string {
	text := c.Source
	if c.Process != "" {
		text += " (" + c.Process + ")"
	}
	if c.UserAgent != "" {
		text += " " + c.UserAgent
	}
	if c.PathGroup != "" {
		text += " asking for " + c.PathGroup
	}
	if text == "" {
		return "a caller without a name"
	}
	return text
}

// Span is a time from a moment until another.
type Span struct{ Since, Until time.Time }

// Calls are what is known of an instance's calls in a time.
type Calls struct {
	// Since and Until are when what is known begins and ends; zero: nothing is.
	Since, Until time.Time
	// Missing is how much in between is not known, and Gaps when that is; nil: nobody tells when.
	Missing time.Duration
	Gaps    []Span
	// ShutUntil is until when calls without a token may have been refused without anybody counting that: that none
	// was counted proves nothing there. Zero: never.
	ShutUntil time.Time
	// NoToken is MetadataNoToken in that time, of which the unknown part may have had more.
	NoToken int64
	// Rejected is MetadataNoTokenRejected; nil: the provider does not tell.
	Rejected *int64
	// Callers are those of that time; nil: the provider does not tell.
	Callers []Caller
	// Due are callers that came without a token before that time, come regularly, and are to come again: that they did
	// not in that time proves nothing.
	Due []Caller
	// Boots are the starts and reboots in that time that went through the API; nil: not known.
	Boots []time.Time
}
