package aemm

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/jsonfile"
)

// What the mock announces unless the file says otherwise.
const (
	spotNotice  = 2 * time.Minute
	eventNotice = 24 * time.Hour
)

var eventIDForm = regexp.MustCompile(`^instance-event-[0-9a-f]{17}$`)

// announce reads what the mock announces. The mock answers times that are over; where they are, the
// values are laid over the paths, for the service announces nothing that lies in the past.
func (r *reader) announce(keys map[string]*jsonfile.Value) error {
	if err := r.delay(keys["mock-delay-sec"], keys["mock-trigger-time"]); err != nil {
		return err
	}
	if err := r.spot(keys["spot"]); err != nil {
		return err
	}
	if err := r.events(keys["events"]); err != nil {
		return err
	}
	if r.Spot != nil {
		r.Uncover = append(r.Uncover, "meta-data/spot/instance-action", "meta-data/spot/termination-time")
	}
	if r.Maintenance != nil {
		r.Uncover = append(r.Uncover, "meta-data/events/maintenance/scheduled")
	}
	return nil
}

// delay finds out whether the mock would still be waiting.
func (r *reader) delay(seconds, trigger *jsonfile.Value) error {
	if trigger != nil && !trigger.IsNull() {
		at, err := timeOf(trigger)
		if err != nil {
			return err
		}
		if !at.IsZero() {
			if at.After(r.now) {
				r.later = trigger
			}
			return nil // it goes before a delay
		}
	}
	if seconds != nil && !seconds.IsNull() {
		text, ok := seconds.Scalar()
		n, err := time.ParseDuration(text + "s")
		if !ok || err != nil {
			return seconds.Errorf("expected a number of seconds")
		}
		if n > 0 {
			r.later = seconds
		}
	}
	return nil
}

func (r *reader) spot(v *jsonfile.Value) error {
	if v == nil || v.IsNull() {
		return nil
	}
	keys, err := r.known(v, "action", "time", "rebalance-rec-time")
	if err != nil {
		return err
	}
	action, err := word(keys["action"], "terminate", "hibernate", "stop", "terminate")
	if err != nil {
		return err
	}
	at, err := timeOf(keys["time"])
	if err != nil {
		return err
	}
	rebalance, err := timeOf(keys["rebalance-rec-time"])
	if err != nil {
		return err
	}
	if !rebalance.IsZero() {
		r.RebalanceAt = &rebalance
	}
	switch {
	case r.later != nil:
		r.note(r.later, "not carried over, so no interruption is announced: do it with 'openimds event spot --action %s', or at a time with 'openimds event play'", action)
	case at.IsZero():
		r.note(v, "the interruption is announced for %v from now, and stays at that time", openimds.Brief(spotNotice))
		r.Spot = &openimds.SpotInterruption{Action: action, Time: r.now.Add(spotNotice)}
	case at.After(r.now):
		r.Spot = &openimds.SpotInterruption{Action: action, Time: at}
	default:
		r.note(keys["time"], "the time is over: it is laid over the path as it stands")
		when := at.Format(time.RFC3339)
		err = r.put(v, "meta-data/spot/instance-action", fmt.Sprintf(`{"action": "%s", "time": "%s"}`, action, when))
		if err == nil && action == "terminate" {
			err = r.put(v, "meta-data/spot/termination-time", when)
		}
	}
	return err
}

func (r *reader) events(v *jsonfile.Value) error {
	if v == nil || v.IsNull() {
		return nil
	}
	keys, err := r.known(v, "code", "state", "not-before", "not-after", "not-before-deadline")
	if err != nil {
		return err
	}
	var e openimds.MaintenanceEvent
	if e.Code, err = word(keys["code"], "system-reboot", "instance-reboot", "instance-retirement", "instance-stop", "system-maintenance", "system-reboot"); err != nil {
		return err
	}
	if e.State, err = word(keys["state"], "active", "active", "canceled", "completed"); err != nil {
		return err
	}
	for key, to := range map[string]*time.Time{"not-before": &e.NotBefore, "not-after": &e.NotAfter, "not-before-deadline": &e.NotBeforeDeadline} {
		if *to, err = timeOf(keys[key]); err != nil {
			return err
		}
	}
	if id := r.values["metadata.event-id"]; id != nil {
		if e.ID, _ = id.Scalar(); !eventIDForm.MatchString(e.ID) {
			return id.Errorf("the id of an event is instance-event- and 17 hexadecimal digits, not %.60q", e.ID)
		}
	}
	e.Description = "The instance is scheduled for " + e.Code
	switch {
	case r.later != nil:
		r.note(r.later, "not carried over, so no maintenance is announced: do it with 'openimds event maintenance --code %s', or at a time with 'openimds event play'", e.Code)
		return nil
	case e.NotBefore.IsZero():
		e.NotBefore = r.now.Add(eventNotice)
		r.note(v, "there is no not-before: the event begins in %v", eventNotice)
	case !e.NotAfter.IsZero() && e.NotAfter.Before(e.NotBefore):
		return keys["not-after"].Errorf("the event would end before it begins")
	case e.State == "active" && !e.NotBefore.After(r.now):
		r.note(keys["not-before"], "the time is over: the event is laid over the path as it stands")
		return r.put(v, "meta-data/events/maintenance/scheduled", scheduled(e))
	}
	if e.State != "active" {
		r.note(cmp.Or(keys["state"], v), "an event that is %s stands in the history, not among the scheduled ones", e.State)
	}
	r.Maintenance = &e
	return nil
}

// scheduled is the list of one event, as the service writes it.
func scheduled(e openimds.MaintenanceEvent) string {
	var b strings.Builder
	b.WriteString("[\n  {")
	separator := "\n"
	member := func(key, value string) {
		if value != "" {
			b.WriteString(separator + `    "` + key + `" : "` + value + `"`)
			separator = ",\n"
		}
	}
	when := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2 Jan 2006 15:04:05 GMT")
	}
	member("NotBefore", when(e.NotBefore))
	member("Code", e.Code)
	member("Description", e.Description)
	member("EventId", cmp.Or(e.ID, openimds.NewID("instance-event-")))
	member("NotAfter", when(e.NotAfter))
	member("NotBeforeDeadline", when(e.NotBeforeDeadline))
	member("State", e.State)
	b.WriteString("\n  }\n]")
	return b.String()
}

// word is a text that is one of several; missing or empty it is the first.
func word(v *jsonfile.Value, missing string, allowed ...string) (string, error) {
	if v == nil || v.IsNull() {
		return missing, nil
	}
	text, err := v.Text()
	if err != nil || text == "" {
		return missing, err
	}
	if !slices.Contains(allowed, text) {
		return "", v.Errorf("%.60q is not one of %s", text, strings.Join(allowed, ", "))
	}
	return text, nil
}

// timeOf is a time; missing or empty it is zero.
func timeOf(v *jsonfile.Value) (time.Time, error) {
	if v == nil || v.IsNull() {
		return time.Time{}, nil
	}
	text, err := v.Text()
	if err != nil || text == "" {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, v.Errorf("%.60q is not a time such as 2026-01-02T15:04:05Z", text)
	}
	return t.UTC(), nil
}
