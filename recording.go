package openimds

import (
	"reflect"
	"strings"
	"time"
)

// Recording is what another metadata service answered, kept byte for byte. An instance that has one
// answers it in place of the table of categories.
type Recording struct {
	// Source is where it was recorded, for people.
	Source     string    `json:"source"`
	RecordedAt time.Time `json:"recordedAt"`
	// Items are in the order in which they were found: a listing comes before what it lists.
	Items []RecordedItem `json:"items"`
}

// RecordingSummary is what a recording is, without what was recorded.
type RecordingSummary struct {
	// ID names the recording's record; empty: it stands in the instance's, as in earlier versions.
	ID         string    `json:"id"`
	Source     string    `json:"source"`
	RecordedAt time.Time `json:"recordedAt"`
	Items      int       `json:"items"`
	Size       int       `json:"size"` // in bytes, as [Recording.Size] counts
}

func (r *Recording) summary() *RecordingSummary {
	return &RecordingSummary{Source: r.Source, RecordedAt: r.RecordedAt, Items: len(r.Items), Size: r.Size()}
}

// RecordedItem is one path of a recording.
type RecordedItem struct {
	// Path is what was asked for, without slashes at its ends: "" is the list of versions, and all
	// else lies below "latest".
	Path string `json:"path"`
	// Listing says that the body lists what lies below.
	Listing     bool          `json:"listing,omitempty"`
	ContentType string        `json:"contentType,omitempty"`
	Modified    time.Time     `json:"modified,omitzero"`
	Body        []byte        `json:"body,omitempty"`
	State       RecordedState `json:"state,omitempty"`
}

// RecordedState says how an item stands to what was there; empty: it is that, byte for byte.
type RecordedState string

// The states of recorded items that are not what was there.
const (
	// RecordedAbsent items were listed, but not there.
	RecordedAbsent RecordedState = "absent"
	// RecordedWithheld items were there and were left out, as user data is.
	RecordedWithheld RecordedState = "withheld"
	// RecordedBlanked items have worthless values in place of secrets.
	RecordedBlanked RecordedState = "blanked"
)

// roleCredentialsPath is where the credentials of a role lie, by its name.
const roleCredentialsPath = "latest/meta-data/iam/security-credentials/"

// RoleName is the name of the role whose credentials were recorded; empty: there were none.
func (r *Recording) RoleName() string {
	for i := range r.Items {
		it := &r.Items[i]
		if name, ok := strings.CutPrefix(it.Path, roleCredentialsPath); ok && it.State == RecordedBlanked && roleForm.MatchString(name) {
			return name
		}
	}
	return ""
}

// Size is what counts against the limit of a recording: the bytes of all paths, types and bodies.
func (r *Recording) Size() int {
	size := len(r.Source)
	for i := range r.Items {
		size += len(r.Items[i].Path) + len(r.Items[i].ContentType) + len(r.Items[i].Body)
	}
	return size
}

// record gives the instance the recording, and the role whose credentials stand in it, for these are
// never recorded: they come from where the role's credentials come from. An empty one is taken away.
func (s *Service) record(d *draft, in *Instance, r *Recording) error {
	if r == nil {
		return nil
	}
	if len(r.Items) == 0 {
		d.dropRecording(in)
		in.Recorded, in.Recording = nil, nil
		return nil
	}
	if s.cfg.ValidateRecording == nil {
		return Errorf(InvalidInput, "", "Recordings are not available in this installation")
	}
	if err := s.cfg.ValidateRecording(r); err != nil {
		return Errorf(InvalidInput, "", "The recording cannot be used: %s", err)
	}
	d.dropRecording(in)
	in.Recorded, in.Recording = nil, r // a record of its own comes with the instance's
	in.Role = newRole(r.RoleName(), in)
	return nil
}

// checkRecorded refuses a change that a recording would hide from the guest.
func (u *InstanceUpdate) checkRecorded(in *Instance) error {
	if in.Recorded == nil && in.Recording == nil {
		return nil
	}
	hidden := *u
	hidden.UserData, hidden.Overlay, hidden.OverlayRemove, hidden.Recording = nil, nil, nil, nil
	for field, value := range reflect.ValueOf(hidden).Fields() {
		if !value.IsZero() {
			return Errorf(InvalidInput, "", "The instance %s answers a recording, which would hide %s: lay a value over the path instead, or take the recording away",
				in.Name, strings.ToLower(field.Name[:1])+field.Name[1:])
		}
	}
	return nil
}
