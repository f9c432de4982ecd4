package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/advice"
	"github.com/openimds/openimds/api/awsjson"
)

// GetCallersRequest asks who called since a time and what, or at all: one instance, or without a name each
// of a page of instances.
type GetCallersRequest struct {
	InstanceName string         `json:"instanceName,omitzero"`
	Since        *awsjson.Epoch `json:"since,omitzero"`
	PageToken    string         `json:"pageToken,omitzero"`
	// Refusals asks the hosts that serve the instance what they have refused; with a name only.
	Refusals bool `json:"refusals,omitzero"`
}

// GetCallersResult is a page of callers: all of as many instances as were looked at.
type GetCallersResult struct {
	Callers []MetadataCaller `json:"callers"`
	// Known has, of each instance that was looked at, how far its callers are known.
	Known []Known `json:"known"`
	// Faults are those on purpose of the instances that were asked for: what their callers did may
	// be due to them.
	Faults []InstanceFaults `json:"faults,omitempty"`
	// Rehearsals are those that are under way on them, for the same reason.
	Rehearsals []InstanceRehearsal `json:"rehearsals,omitempty"`
	// Refusals are, of the instances that were asked for, what was refused to their guests since they are served where
	// they are; RefusalsUnknown are those of which not all of that is known.
	Refusals        []InstanceRefusal `json:"refusals,omitempty"`
	RefusalsUnknown []UnknownRefusals `json:"refusalsUnknown,omitempty"`
	NextPageToken   string            `json:"nextPageToken,omitempty"`
}

// UnknownRefusals is an instance of which it is not known what is refused to its guest, or not all, and why.
type UnknownRefusals struct {
	InstanceName string `json:"instanceName"`
	Reason       string `json:"reason"`
}

// InstanceRefusal is how often an instance's guest was refused for one reason.
type InstanceRefusal struct {
	InstanceName string `json:"instanceName"`
	Reason       string `json:"reason"`
	// Status is absent where connections were closed without an answer.
	Status int   `json:"status,omitempty"`
	Count  int64 `json:"count"`
}

// MetadataCaller is who used an instance's metadata, as far as its requests tell.
type MetadataCaller struct {
	InstanceName string `json:"instanceName"`
	// CallerKey is the caller's name among those of its instance, the same each time it is asked for.
	CallerKey string `json:"callerKey"`
	Source    string `json:"source"`
	UserAgent string `json:"userAgent"`
	PathGroup string `json:"pathGroup"`
	// Process is the process of the host that it is; absent: it is none, as of a virtual machine, or was not seen in time.
	Process *openimds.CallerProcess `json:"process,omitempty"`
	// Agent is what UserAgent tells of the caller's software; absent: it is none that is known.
	Agent *CallerAgent `json:"agent,omitempty"`
	// Counts are of the calls from CountedSince on, by the names of the metrics and MetadataNoTokenFailed
	// and MetadataWithTokenFailed; what is not there is zero.
	Counts       map[string]int64 `json:"counts"`
	CountedSince *awsjson.Epoch   `json:"countedSince,omitempty"`
	FirstSeen    awsjson.Epoch    `json:"firstSeen"`
	LastSeen     awsjson.Epoch    `json:"lastSeen"`
	// FirstWithoutToken and LastWithoutToken are the first and the last call without a token, whatever
	// became of it; absent: none.
	FirstWithoutToken *awsjson.Epoch `json:"firstWithoutToken,omitempty"`
	LastWithoutToken  *awsjson.Epoch `json:"lastWithoutToken,omitempty"`
	// Period is how often it came lately.
	Period CallerPeriod `json:"period"`
	// LastForwarded is the latest call with a token or for one that was refused because it came through a proxy
	// (X-Forwarded-For); absent: none.
	LastForwarded *awsjson.Epoch `json:"lastForwarded,omitempty"`
	// Advice is what there is to do until it needs IMDSv1 no more, the first thing first; absent: nothing.
	Advice []advice.Advice `json:"advice,omitempty"`
	// TokenUndelivered is the latest answer with a token that did not arrive; absent: none.
	TokenUndelivered *UndeliveredToken `json:"tokenUndelivered,omitempty"`
}

// CallerAgent is a caller's software by its own words.
type CallerAgent struct {
	Tool     string `json:"tool"`
	Version  string `json:"version,omitempty"`
	Language string `json:"language,omitempty"`
	OS       string `json:"os,omitempty"`
}

// CallerPeriod is how often a caller came.
type CallerPeriod struct {
	// Kind is boot, constant, every, hourly, daily, weekly, monthly, once or unknown.
	Kind string `json:"kind"`
	// Seconds are between two visits of a caller that comes regularly; absent: it does not, or that is not known.
	Seconds int    `json:"seconds,omitempty"`
	Text    string `json:"text"`
}

// UndeliveredToken is an answer with a token whose receipt was not acknowledged.
type UndeliveredToken struct {
	Time awsjson.Epoch `json:"time"`
	// HopLimit is what the answer left with, NeededHopLimit the least that reaches the caller (absent:
	// not known), CurrentHopLimit that of the instance now.
	HopLimit        int `json:"hopLimit"`
	NeededHopLimit  int `json:"neededHopLimit,omitempty"`
	CurrentHopLimit int `json:"currentHopLimit"`
}
