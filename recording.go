package openimds

import (
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

func (r *Recording) Summary() *RecordingSummary {
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
		if name, ok := strings.CutPrefix(it.Path, roleCredentialsPath); ok && it.State == RecordedBlanked && RoleNameForm.MatchString(name) {
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
