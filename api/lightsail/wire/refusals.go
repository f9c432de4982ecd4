package wire

import (
	"github.com/openimds/openimds/api/awsjson"
)

// WaitForRefusalsRequest asks for the number of calls that were refused for want of a token, as soon as it is
// another one than was seen of any of the instances, or else after the wait.
type WaitForRefusalsRequest struct {
	// Instances are 1 to 1000.
	Instances   []SeenRefusals `json:"instances" check:"required"`
	WaitSeconds RefusalsWait   `json:"waitSeconds,omitzero"`
}

// SeenRefusals is an instance with the number that was told of it last; absent: none was, so that the answer
// comes as soon as it is known.
type SeenRefusals struct {
	InstanceName string `json:"instanceName" check:"required"`
	Seen         *int   `json:"seen,omitzero"`
	// CounterID is what counted then: the answer comes at once where another one does now.
	CounterID string `json:"counterId,omitzero"`
}

// RefusalsWait is in seconds. With none, and of an instance of which no number was seen, hosts are not asked to tell.
type RefusalsWait int

// Bounds is [awsjson.Bounded].
func (RefusalsWait) Bounds() (least, most int) { return 0, 3 }

// WaitForRefusalsResult has the instances that were asked for and are there, in that order.
type WaitForRefusalsResult struct {
	// Time is when the numbers were read, by the service's clock.
	Time      awsjson.Epoch   `json:"time"`
	Instances []RefusedNumber `json:"instances"`
}

// RefusedNumber is how many calls of an instance were refused, at all hosts that serve it. With one CounterID it never falls.
type RefusedNumber struct {
	InstanceName string `json:"instanceName"`
	InstanceID   string `json:"instanceId"`
	// Refused is absent where it is not known: Unknown says why, and Awaited that it is to be known in a moment.
	Refused *int64 `json:"refused,omitempty"`
	Unknown string `json:"unknown,omitempty"`
	Awaited bool   `json:"awaited,omitempty"`
	// CounterID is that of what counts it: where it is another one than before, that the number is the same says nothing.
	CounterID string `json:"counterId,omitempty"`
	// HostTime is the earliest moment at which a host has read its part of the number, by that host's clock; absent: it was
	// read here.
	HostTime *awsjson.Epoch `json:"hostTime,omitempty"`
	// UntoldSeconds is for how long before the answer a host that is gone without a word may have refused calls that are
	// not among them.
	UntoldSeconds int `json:"untoldSeconds,omitempty"`
	// Hosts are those that serve the instance, or are to.
	Hosts []string `json:"hosts,omitempty"`
}
