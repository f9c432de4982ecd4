package control

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/openimds/openimds"
)

// EventsUpdate is a change of what is announced to a guest; what it leaves out stays.
type EventsUpdate struct {
	// Clear takes announcements back before the others are made.
	Clear []EventKind
	// Spot announces that the instance will be interrupted; its time lies in the future.
	Spot *openimds.SpotInterruption
	// RebalanceAt is the notice time of a rebalance recommendation.
	RebalanceAt *time.Time
	// Maintenance schedules an event, or changes the one of that ID. A new one needs no ID.
	Maintenance *openimds.MaintenanceEvent
	// LifecycleState is what an Auto Scaling group means to do with the instance next.
	LifecycleState *string
}

// EventKind names a kind of announcement.
type EventKind string

// The kinds of announcements.
const (
	SpotEvents        EventKind = "spot"
	RebalanceEvents   EventKind = "rebalance"
	MaintenanceEvents EventKind = "maintenance"
	LifecycleEvents   EventKind = "lifecycle"
)

// EventKinds lists all kinds.
func EventKinds() []EventKind {
	return []EventKind{SpotEvents, RebalanceEvents, MaintenanceEvents, LifecycleEvents}
}

// maxMaintenance bounds the events of an instance, past ones included.
const maxMaintenance = 50

// Values that AWS documents (EC2 user guide, "Scheduled events for your instances" and "Spot
// Instance interruption notices"; EC2 Auto Scaling user guide, "Retrieve the target lifecycle state").
var (
	spotActions       = []string{"hibernate", "stop", "terminate"}
	maintenanceCodes  = []string{"instance-reboot", "instance-retirement", "instance-stop", "system-maintenance", "system-reboot"}
	maintenanceStates = []string{"active", "canceled", "completed"}
	lifecycleStates   = []string{
		"Detached", "Hibernated", "InService", "Standby", "Stopped", "Terminated",
		"Warmed:Hibernated", "Warmed:Running", "Warmed:Stopped", "Warmed:Terminated",
	}
	eventIDForm = regexp.MustCompile(`^instance-event-[0-9a-f]{17}$`)
)

// SpotActions lists what can become of a spot instance.
func SpotActions() []string { return slices.Clone(spotActions) }

// MaintenanceCodes lists the kinds of scheduled events, MaintenanceStates how they can stand.
func MaintenanceCodes() []string { return slices.Clone(maintenanceCodes) }

// MaintenanceStates is described there.
func MaintenanceStates() []string { return slices.Clone(maintenanceStates) }

// LifecycleStates lists the target states of an Auto Scaling group.
func LifecycleStates() []string { return slices.Clone(lifecycleStates) }

// UpdateEvents changes what is announced to an instance's guest, whose next request sees it. The details of the
// operation are the id of the scheduled event that was made or changed.
//
// Errors: InvalidInput/UnknownValue, InvalidInput/OutOfRange, InvalidInput/Incomplete, InvalidInput/Conflicting,
// InvalidInput/TooLarge and InvalidInput/TooMany for what is announced; NotFound/DoesNotExist.
func (s *Service) UpdateEvents(ctx context.Context, name string, u EventsUpdate) (openimds.Operation, error) {
	d, err := s.commit(ctx, "UpdateInstanceEvents", func(d *draft) error {
		in, was, err := s.instance(ctx, name)
		if err != nil {
			return err
		}
		if err := u.apply(&in.Events, d.now); err != nil {
			return err
		}
		d.putInstance(was, in)
		op := instanceOperation("UpdateInstanceEvents", in)
		if m := u.Maintenance; m != nil {
			if op.Details = m.ID; m.ID == "" {
				op.Details = in.Events.Maintenance[len(in.Events.Maintenance)-1].ID
			}
		}
		d.operation(op)
		return nil
	})
	if err != nil {
		return openimds.Operation{}, err
	}
	return d.operations[0], nil
}

// Validate refuses a change that no instance could take, at that time.
func (u *EventsUpdate) Validate(now time.Time) error { return u.apply(&openimds.Events{}, now) }

func (u *EventsUpdate) apply(e *openimds.Events, now time.Time) error {
	for _, kind := range u.Clear {
		switch kind {
		case SpotEvents:
			e.Spot = nil
		case RebalanceEvents:
			e.RebalanceAt = time.Time{}
		case MaintenanceEvents:
			e.Maintenance = nil
		case LifecycleEvents:
			e.LifecycleState = ""
		default:
			return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "There is no kind of event %.40q; it is one of %v", kind, EventKinds())
		}
	}
	if u.Spot != nil {
		if err := oneOf(openimds.FieldSpotAction, u.Spot.Action, spotActions); err != nil {
			return err
		}
		if !u.Spot.Time.After(now) {
			return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "The time of a spot interruption must lie in the future, not at %s", u.Spot.Time.UTC().Format(time.RFC3339))
		}
		e.Spot = &openimds.SpotInterruption{Action: u.Spot.Action, Time: u.Spot.Time.UTC()}
	}
	if u.RebalanceAt != nil {
		e.RebalanceAt = u.RebalanceAt.UTC()
	}
	if u.LifecycleState != nil {
		if err := oneOf(openimds.FieldLifecycleState, *u.LifecycleState, lifecycleStates); err != nil {
			return err
		}
		e.LifecycleState = *u.LifecycleState
	}
	if u.Maintenance != nil {
		return schedule(e, *u.Maintenance, now)
	}
	return nil
}

// schedule adds a maintenance event or changes the one of its id.
func schedule(e *openimds.Events, m openimds.MaintenanceEvent, now time.Time) error {
	at := slices.IndexFunc(e.Maintenance, func(old openimds.MaintenanceEvent) bool { return old.ID == m.ID })
	if at >= 0 {
		m = over(m, e.Maintenance[at])
	}
	if at < 0 && m.ID != "" && m.Code == "" {
		return openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "There is no scheduled event %.60s to change, and a new one needs a code", m.ID)
	}
	if m.State == "" {
		m.State = "active"
	}
	if err := oneOf(openimds.FieldMaintenanceCode, m.Code, maintenanceCodes); err != nil {
		return err
	}
	if err := oneOf(openimds.FieldMaintenanceState, m.State, maintenanceStates); err != nil {
		return err
	}
	switch {
	case len(m.Description) > 1024:
		return openimds.Errorf(openimds.InvalidInput, openimds.TooLarge, "The description of a scheduled event has at most 1024 bytes")
	case m.NotBefore.IsZero():
		return openimds.Errorf(openimds.InvalidInput, openimds.Incomplete, "A scheduled event needs the time before which it does not happen")
	case at < 0 && m.State == "active" && !m.NotBefore.After(now):
		return openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "The time of a scheduled event must lie in the future, not at %s", m.NotBefore.UTC().Format(time.RFC3339))
	case !m.NotAfter.IsZero() && m.NotAfter.Before(m.NotBefore):
		return openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "A scheduled event cannot end before it begins")
	case m.ID == "":
		m.ID = openimds.NewID("instance-event-")
	case !eventIDForm.MatchString(m.ID):
		return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The id of a scheduled event is instance-event- and 17 hexadecimal digits, not %.60q", m.ID)
	}
	if m.Description == "" {
		m.Description = "The instance is scheduled for " + m.Code
	}
	if at >= 0 {
		e.Maintenance[at] = m
		return nil
	}
	if len(e.Maintenance) >= maxMaintenance {
		return openimds.Errorf(openimds.InvalidInput, openimds.TooMany, "An instance has at most %d scheduled events; clear some first", maxMaintenance)
	}
	e.Maintenance = append(e.Maintenance, m)
	return nil
}

// over lays what m has over an earlier state of the same event.
func over(m openimds.MaintenanceEvent, old openimds.MaintenanceEvent) openimds.MaintenanceEvent {
	for _, f := range []struct{ to, value *string }{
		{&old.Code, &m.Code}, {&old.Description, &m.Description}, {&old.State, &m.State},
	} {
		if *f.value != "" {
			*f.to = *f.value
		}
	}
	for _, f := range []struct{ to, value *time.Time }{
		{&old.NotBefore, &m.NotBefore}, {&old.NotAfter, &m.NotAfter}, {&old.NotBeforeDeadline, &m.NotBeforeDeadline},
	} {
		if !f.value.IsZero() {
			*f.to = f.value.UTC()
		}
	}
	return old
}

func oneOf(what openimds.Field, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "%s must be one of %v, not %.60q", what, allowed, value)
}
