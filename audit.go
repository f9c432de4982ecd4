package openimds

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	// Server is who was asked, in a log that several servers share; in a server's own it is empty.
	Server string `json:"server,omitempty"`
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

// Changed are the members of what was there before and is now that are numbers or words, each with both ("options.tokens:
// optional to required"); of a creation and a deletion there are none.
func (e *AuditEntry) Changed() (words []string) {
	if e.Before == nil || e.After == nil {
		return nil
	}
	compareMembers(&words, "", e.Before, e.After)
	return words
}

// compareMembers adds the members that differ, by their path.
func compareMembers(words *[]string, path string, before, after map[string]any) {
	names := maps.Clone(before)
	maps.Copy(names, after)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		from, to := before[name], after[name]
		inner, nested := from.(map[string]any)
		if now, both := to.(map[string]any); nested && both {
			compareMembers(words, path+name+".", inner, now)
			continue
		}
		if isScalar(from) && isScalar(to) && from != to {
			*words = append(*words, fmt.Sprintf("%s%s: %s to %s", path, name, scalar(from), scalar(to)))
		}
	}
}

func isScalar(v any) bool {
	switch v.(type) {
	case nil, string, bool, float64:
		return true
	}
	return false
}

func scalar(v any) string {
	if v == nil {
		return "none"
	}
	const most = 40 // characters
	if text := []rune(fmt.Sprint(v)); len(text) > most {
		return string(text[:most-1]) + "…"
	}
	return fmt.Sprint(v)
}

// AuditQuery says which entries of an audit log are asked for. What is empty asks for all.
type AuditQuery struct {
	// Resource is type and name, or a name alone.
	Resource string
	// Who is a part of whom the entry names, What the operation.
	Who, What string
	// Failed asks for what was refused or was not made.
	Failed bool
	// Since is when the time begins.
	Since time.Time
	// Place is where the page before ended, as its Next says; empty: at the latest entry.
	Place string
	// Most is how many entries a page has at most, at least 1.
	Most int
}

// Wants says whether an entry is among those.
func (q *AuditQuery) Wants(e *AuditEntry) bool {
	_, name, _ := strings.Cut(e.Resource, "/")
	return !e.When.Before(q.Since) && strings.Contains(e.Who, q.Who) && cmp.Or(q.What, e.What) == e.What && (!q.Failed || e.Failure != "") &&
		(q.Resource == "" || q.Resource == e.Resource || q.Resource == name)
}

// AuditPage is a part of what was asked for, the latest first. It may have none although there are more.
type AuditPage struct {
	Entries []AuditEntry
	// Next is the place of the next page; empty: this is the last one.
	Next string
	// Begins is when the log begins, so that what came before is not known; zero: it has no entry.
	Begins time.Time
	// Damaged is how many lines could not be read.
	Damaged int
	// Rotated says that the log that Place was of is not there any more: what was left of it stands where it was moved to.
	Rotated bool
}
