package openimds

import (
	"strings"
	"time"
)

// Events are what AWS announces to a guest. The zero value is an instance that nothing is announced to.
type Events struct {
	// RebalanceAt is the notice time of a rebalance recommendation; zero: none.
	RebalanceAt time.Time `json:"rebalanceAt,omitzero"`
	// Spot is the announced interruption of a spot instance; nil: none.
	Spot *SpotInterruption `json:"spot,omitempty"`
	// Maintenance are scheduled events, active and past.
	Maintenance []MaintenanceEvent `json:"maintenance,omitempty"`
	// LifecycleState is what autoscaling/target-lifecycle-state says; empty: absent.
	LifecycleState string `json:"lifecycleState,omitempty"`
}

// SpotInterruption is the announcement that a spot instance will be stopped, hibernated or terminated.
type SpotInterruption struct {
	Action string    `json:"action"` // "stop", "hibernate", "terminate"
	Time   time.Time `json:"time"`
}

// MaintenanceEvent is one entry of events/maintenance/scheduled (State "active") or /history
// ("completed", "canceled").
type MaintenanceEvent struct {
	ID          string    `json:"id"`   // "instance-event-" and 17 hexadecimal digits
	Code        string    `json:"code"` // "system-reboot", "instance-stop", …
	Description string    `json:"description"`
	State       string    `json:"state"`
	NotBefore   time.Time `json:"notBefore"`
	NotAfter    time.Time `json:"notAfter,omitzero"`
	// NotBeforeDeadline is the last moment to which the event may be moved; zero: absent.
	NotBeforeDeadline time.Time `json:"notBeforeDeadline,omitzero"`
}

// What is announced to an instance says what it is, for as long as it is announced: its guest and EC2's API are told
// the same by these.

// AnnouncesSpot says whether an interruption or a rebalance is announced, as to spot instances only.
func (e *Events) AnnouncesSpot() bool { return e.Spot != nil || !e.RebalanceAt.IsZero() }

// AnnouncesHibernation says whether the instance is told to hibernate, as only one for which that was configured.
func (e *Events) AnnouncesHibernation() bool {
	return e.Spot != nil && e.Spot.Action == "hibernate" || strings.HasSuffix(e.LifecycleState, "Hibernated")
}

// InAutoScalingGroup says whether a group has announced what it means to do with the instance.
func (e *Events) InAutoScalingGroup() bool { return e.LifecycleState != "" }

// ShownLifeCycle is how the instance was bought.
func (in *Instance) ShownLifeCycle() string {
	if in.Events.AnnouncesSpot() {
		return "spot"
	}
	return in.LifeCycle
}

// Hibernates says whether the instance can hibernate.
func (in *Instance) Hibernates() bool { return in.Hibernation || in.Events.AnnouncesHibernation() }

// ShownLaunchIndex is the instance's place among those of one request; a group launches each by one of its own.
func (in *Instance) ShownLaunchIndex() int {
	if in.Events.InAutoScalingGroup() {
		return 0
	}
	return in.LaunchIndex
}

// ShownDescription leads what is over, as in EC2's answers and in the tree alike.
func (e *MaintenanceEvent) ShownDescription() string {
	lead := map[string]string{"completed": "[Completed] ", "canceled": "[Canceled] "}[e.State]
	return lead + strings.TrimPrefix(e.Description, lead)
}
