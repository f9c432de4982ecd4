package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
)

// The operations. To make a report changes nothing, but a key that only looks shall not get the installation's signature.
var (
	GetMigrationVerdicts = looks[GetMigrationVerdictsRequest, GetMigrationVerdictsResult](openIMDS + "GetMigrationVerdicts")
	GetMigrationReport   = looks[GetMigrationReportRequest, GetMigrationReportResult](openIMDS + "GetMigrationReport")
)

// GetMigrationVerdictsRequest asks whether tokens may be required of instances, as "openimds migrate status" tells it.
type GetMigrationVerdictsRequest struct {
	// InstanceNames are 1 to 50.
	InstanceNames []string `json:"instanceNames" check:"required"`
	// WindowSeconds is how far back nobody may have called without a token: two weeks unless it is said, at most 62 days.
	WindowSeconds *int `json:"windowSeconds,omitzero"`
}

// GetMigrationVerdictsResult has those that are there, in that order.
type GetMigrationVerdictsResult struct {
	WindowSeconds int                `json:"windowSeconds"`
	Verdicts      []MigrationVerdict `json:"verdicts"`
}

// MigrationVerdict says of an instance whether tokens may be required of it.
type MigrationVerdict struct {
	InstanceName string `json:"instanceName"`
	// Verdict is done, ready, not yet or unknown, and Reason says why in one line.
	Verdict string `json:"verdict"`
	Reason  string `json:"reason"`
	// NoToken are the calls without a token in the window that were answered, Rejected those that were refused; null: not known.
	NoToken  *int64 `json:"noToken"`
	Rejected *int64 `json:"rejected"`
	// KnownSince and KnownUntil are the part of the window that is known, but for MissingSeconds of it; absent: nothing is.
	KnownSince     *awsjson.Epoch `json:"knownSince,omitempty"`
	KnownUntil     *awsjson.Epoch `json:"knownUntil,omitempty"`
	MissingSeconds int            `json:"missingSeconds"`
	// Rehearsal is the one that is under way; absent: none is.
	Rehearsal *openimds.Rehearsal `json:"rehearsal,omitempty"`
}

// ReportForm is how a report is written down.
type ReportForm string

// The forms.
const (
	ReportHTML ReportForm = "html"
	ReportJSON ReportForm = "json"
)

// Values is [awsjson.Enumerated].
func (ReportForm) Values() []string { return []string{string(ReportHTML), string(ReportJSON)} }

// GetMigrationReportRequest asks for the report on all instances of the region, up to 200, as "openimds migrate report" makes it.
type GetMigrationReportRequest struct {
	Form ReportForm `json:"form" check:"required"`
}

// GetMigrationReportResult is the report with the installation's signature.
type GetMigrationReportResult struct {
	FileName string `json:"fileName"`
	Report   string `json:"report"`
	// Key is the fingerprint of the key that signed it, which "openimds migrate verify" asks for.
	Key string `json:"key"`
}
