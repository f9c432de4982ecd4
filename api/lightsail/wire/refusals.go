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

// SeenRefusals is an instance with the number that was told of it last, and its counter; absent: none was, so that the
// answer comes at once.
type SeenRefusals struct {
	InstanceName string `json:"instanceName" check:"required"`
	Seen         *int   `json:"seen,omitzero"`
	CounterID    string `json:"counterId,omitzero"`
}

// RefusalsWait is in seconds.
type RefusalsWait int

// Bounds is [awsjson.Bounded].
func (RefusalsWait) Bounds() (least, most int) { return 0, 3 }

// WaitForRefusalsResult has the instances that were asked for and are there, in that order.
type WaitForRefusalsResult struct {
	// Time is when the numbers were read, by the service's clock.
	Time      awsjson.Epoch   `json:"time"`
	Instances []RefusedNumber `json:"instances"`
}

// RefusedNumber is how many calls of an instance were refused. It begins with the process that serves the
// instance, and never falls in its life.
type RefusedNumber struct {
	InstanceName string `json:"instanceName"`
	InstanceID   string `json:"instanceId"`
	// Refused is absent where it is not known: this server does not serve the instance.
	Refused *int64 `json:"refused,omitempty"`
	// CounterID is another one where the number has begun at zero anew, as in another process.
	CounterID string `json:"counterId,omitzero"`
}
