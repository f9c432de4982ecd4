package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
)

// GetAuditEntries looks, but keys that may not change anything may not ask for it: the log names whoever did, and from where.
var GetAuditEntries = looks[GetAuditEntriesRequest, GetAuditEntriesResult](openIMDS + "GetAuditEntries")

// GetAuditEntriesRequest asks for a page of who changed what and who was refused. What is left out asks for all.
type GetAuditEntriesRequest struct {
	// Resource is type and name ("Instance/demo"), or a name alone.
	Resource string `json:"resource,omitzero"`
	// Who is a part of the name that an entry has: a key's id or profile, or openimds. What is an operation.
	Who  string `json:"who,omitzero"`
	What string `json:"what,omitzero"`
	// Failed asks for what was refused or was not made.
	Failed    bool           `json:"failed,omitzero"`
	Since     *awsjson.Epoch `json:"since,omitzero"`
	PageSize  *int           `json:"pageSize,omitzero"` // 1 to 200; 50
	PageToken string         `json:"pageToken,omitzero"`
}

// GetAuditEntriesResult is a page, the latest entries first. One of a long log may have none although there are more:
// NextPageToken is absent from the last page alone.
type GetAuditEntriesResult struct {
	Entries []AuditEntry `json:"entries"`
	// Server is the host whose log this is; absent: it is that of all servers of the store, and the entries name theirs.
	Server string `json:"server,omitempty"`
	// KnownSince is when that log begins; absent: it has no entry. What came before is not known.
	KnownSince *awsjson.Epoch `json:"knownSince,omitempty"`
	// Incomplete says what of it could not be told.
	Incomplete    []string `json:"incomplete"`
	NextPageToken string   `json:"nextPageToken,omitempty"`
}

// AuditEntry is one line of the log.
type AuditEntry struct {
	openimds.AuditEntry
	// Changed has the numbers and words among Before and After that differ.
	Changed []string `json:"changed,omitempty"`
}
