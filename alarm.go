package openimds

import (
	"slices"
	"time"
)

// AlarmState is what an alarm says of its metric, by the names of the Lightsail API.
type AlarmState string

// The states of an alarm.
const (
	AlarmOK           AlarmState = "OK"
	AlarmAlarm        AlarmState = "ALARM"
	AlarmInsufficient AlarmState = "INSUFFICIENT_DATA"
)

// Comparison says when a value breaches the threshold.
type Comparison string

// The comparisons of a value with the threshold.
const (
	AtLeast Comparison = "GreaterThanOrEqualToThreshold"
	Above   Comparison = "GreaterThanThreshold"
	Below   Comparison = "LessThanThreshold"
	AtMost  Comparison = "LessThanOrEqualToThreshold"
)

// MissingData says what an alarm makes of a period without samples.
type MissingData string

// The treatments of missing data.
const (
	MissingBreaching    MissingData = "breaching"
	MissingNotBreaching MissingData = "notBreaching"
	MissingIgnore       MissingData = "ignore"
	MissingMissing      MissingData = "missing"
)

// AlarmConfig is what a client says of an alarm.
type AlarmConfig struct {
	Metric   string `json:"metric"`
	Instance string `json:"instance"`

	Comparison Comparison `json:"comparison"`
	Threshold  float64    `json:"threshold"`
	// Periods are the latest ones that are looked at, and Datapoints how many of them must breach
	// the threshold; 0: all.
	Periods    int `json:"periods"`
	Datapoints int `json:"datapoints"`
	// MissingData defaults to MissingMissing.
	MissingData MissingData `json:"missingData"`
	// NotifyOn are the states whose beginning is told; always with ALARM, which is the default.
	NotifyOn []AlarmState `json:"notifyOn"`
	// Notify says whether anything is told at all.
	Notify bool `json:"notify"`
	// Description is what people say of the alarm; nil in a change: it stays as it is.
	Description *string `json:"description,omitempty"`
}

// StateReason is why an alarm was put into its state by hand, in words and, if there are any, as data: a JSON text.
type StateReason struct {
	Words string `json:"words,omitempty"`
	Data  string `json:"data,omitempty"`
}

// AlarmPeriod is the length of an alarm's periods; Lightsail has no other.
const AlarmPeriod = MetricPeriod

// Alarm watches one metric of an instance.
type Alarm struct {
	Name      string    `json:"name"`
	UUID      string    `json:"uuid"`
	CreatedAt time.Time `json:"createdAt"`
	AlarmConfig
	State          AlarmState `json:"state"`
	StateChangedAt time.Time  `json:"stateChangedAt"`
	// StateReason is of a state that it was put into by hand.
	StateReason StateReason `json:"stateReason,omitzero"`
	Tags        []Tag       `json:"tags,omitempty"`
	// InstanceUUID is of the instance's ARN.
	InstanceUUID string `json:"instanceUuid"`
}

// Notifies says whether the beginning of the alarm's present state is to be told.
func (a *Alarm) Notifies() bool { return a.Notify && slices.Contains(a.NotifyOn, a.State) }
