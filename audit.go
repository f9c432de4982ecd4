package openimds

import (
	"time"
)

// AuditEntry tells of one change of state, or of one refusal. A change is told before it is made; one
// that then fails is told of once more, with its Failure. No entry holds a secret, user data, or
// the values that lie over the metadata.
type AuditEntry struct {
	When time.Time `json:"when"`
	// Who made the change: what [control.WithActor] says, "openimds" for what the service does by itself.
	Who string `json:"who"`
	// What is the name of the operation.
	What string `json:"what"`
	// Resource is type and name ("Instance/demo"); empty for a refusal that came before any name.
	Resource string `json:"resource,omitempty"`
	// RequestID and Source are what [control.WithRequest] says of the request that asked for it.
	RequestID string `json:"requestId,omitempty"`
	Source    string `json:"source,omitempty"`
	// Change is the id that all lines of one attempt to change something share: that of the operation, or
	// "own-…" for one that the service makes by itself. Base is the revision of the record that the change was made on; 0: there was none.
	Change string `json:"change,omitempty"`
	Base   *int64 `json:"base,omitempty"`
	// Before and After hold the members that the change touched; nil where there was or is nothing.
	Before map[string]any `json:"before,omitempty"`
	After  map[string]any `json:"after,omitempty"`
	// Failure says why nothing was changed, or why it is not known whether it was; empty otherwise.
	Failure string `json:"failure,omitempty"`
}

// Failed is the entry that says of an earlier one that it did not happen, or may not have.
func (e AuditEntry) Failed(when time.Time, why string) AuditEntry {
	e.When, e.Before, e.After, e.Failure = when, nil, nil, why
	return e
}
