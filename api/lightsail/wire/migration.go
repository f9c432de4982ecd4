package wire

import (
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
)

// The operations. To make a report changes nothing, but a key that only looks shall not get the installation's signature.
var (
	GetMigrationVerdicts = looks[GetMigrationVerdictsRequest, GetMigrationVerdictsResult](openIMDS + "GetMigrationVerdicts")
	MakeMigrationReport  = looks[MakeMigrationReportRequest, MakeMigrationReportResult](openIMDS + "MakeMigrationReport")
	GetMigrationReport   = looks[GetMigrationReportRequest, GetMigrationReportResult](openIMDS + "GetMigrationReport")

	TellMigration        = changes[TellMigrationRequest, TellMigrationResult](openIMDS + "TellMigration")
	GetMigrations        = looks[Nothing, GetMigrationsResult](openIMDS + "GetMigrations")
	GetMigratedInstances = looks[GetMigratedInstancesRequest, GetMigratedInstancesResult](openIMDS + "GetMigratedInstances")
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

// MakeMigrationReportRequest has the report made on all instances of the region, as "openimds migrate report" makes it.
type MakeMigrationReportRequest struct {
	Form ReportForm `json:"form" check:"required"`
}

// MakeMigrationReportResult names the report, for the same key and the same server alone. It is there until nobody has asked for
// it for a minute, or the key has another one made.
type MakeMigrationReportResult struct {
	ReportID string `json:"reportId"`
}

// GetMigrationReportRequest asks how far a report is, and for what follows of it after From bytes once it is made.
type GetMigrationReportRequest struct {
	ReportID string `json:"reportId" check:"required"`
	From     int    `json:"from,omitzero"`
}

// GetMigrationReportResult is how far a report is: with Judged of so many Instances, 0 as long as they are not counted. Once it is
// made it has the installation's signature and a Size in bytes, of which Part has up to 128 KiB.
type GetMigrationReportResult struct {
	Judged    int    `json:"judged"`
	Instances int    `json:"instances"`
	Size      int64  `json:"size"`
	FileName  string `json:"fileName,omitempty"`
	// Key is the fingerprint of the key that signed it, which "openimds migrate verify" asks for.
	Key  string `json:"key,omitempty"`
	Part []byte `json:"part,omitempty"`
}

// TellMigrationRequest is how far "openimds migrate" has carried a plan out. It changes no instance, and may be repeated.
type TellMigrationRequest struct {
	// MigrationID is 32 hexadecimal digits, and the same for whoever goes on with the plan.
	MigrationID string `json:"migrationId" check:"required"`
	// Plan is the file's name, BegunBy the user and the machine that began it.
	Plan    string         `json:"plan" check:"required"`
	BegunBy string         `json:"begunBy,omitzero"`
	BegunAt *awsjson.Epoch `json:"begunAt" check:"required"`
	State   MigrationState `json:"state" check:"required"`
	Reason  string         `json:"reason,omitzero"`
	// StepAt is when something was done last.
	StepAt     *awsjson.Epoch       `json:"stepAt" check:"required"`
	Waves      []MigrationWave      `json:"waves,omitzero"`      // at most 100
	Exceptions []MigrationException `json:"exceptions,omitzero"` // at most 100
	// MoreExceptions is how many others there are.
	MoreExceptions int `json:"moreExceptions,omitzero"`
	// Instances are up to 32 of which it is told how far they are; what was told of others stays.
	Instances []MigratedInstance `json:"instances,omitzero"`
}

// TellMigrationResult says of how many instances of the plan it is known how far they are.
type TellMigrationResult struct {
	Instances int `json:"instances"`
}

// MigrationState is what becomes of a plan.
type MigrationState string

// Values is [awsjson.Enumerated].
func (MigrationState) Values() []string { return texts(openimds.MigrationStates()) }

// MigrationStep is how far a plan is with an instance.
type MigrationStep string

// Values is [awsjson.Enumerated].
func (MigrationStep) Values() []string { return texts(openimds.MigrationSteps()) }

func texts[T ~string](all []T) []string {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = string(one)
	}
	return texts
}

// MigrationWave is a wave of a plan; times that have not come are absent.
type MigrationWave struct {
	Name string `json:"name" check:"required"`
	// HoldSeconds is how long it is watched, HeldUntil until when, and HeldAt when that was over without a refusal.
	HoldSeconds int            `json:"holdSeconds"`
	BegunAt     *awsjson.Epoch `json:"begunAt,omitempty"`
	HeldUntil   *awsjson.Epoch `json:"heldUntil,omitempty"`
	HeldAt      *awsjson.Epoch `json:"heldAt,omitempty"`
}

// MigrationException is one of a plan's: of instances by their names or patterns or tags, or of some callers of those.
type MigrationException struct {
	Names     []string       `json:"names,omitzero"`
	Tags      []string       `json:"tags,omitzero"`
	UserAgent string         `json:"userAgent,omitzero"`
	Source    string         `json:"source,omitzero"`
	Owner     string         `json:"owner" check:"required"`
	Reason    string         `json:"reason,omitzero"`
	Until     *awsjson.Epoch `json:"until" check:"required"` // the first moment at which it does not hold any more
}

// MigratedInstance is how far a plan is with an instance.
type MigratedInstance struct {
	// Place is the instance's in the plan, from 0 on.
	Place        int           `json:"place"`
	InstanceName string        `json:"instanceName" check:"required"`
	Wave         string        `json:"wave,omitzero"`
	Step         MigrationStep `json:"step" check:"required"`
	// At is when that was; absent: nothing was done.
	At     *awsjson.Epoch `json:"at,omitempty"`
	Reason string         `json:"reason,omitzero"`
	// Owner answers for the exception by which it was left as it is, until Until.
	Owner string         `json:"owner,omitzero"`
	Until *awsjson.Epoch `json:"until,omitempty"`
}

// GetMigrationsResult has the plans of which "openimds migrate" has told, those first that were begun last: up to 20.
type GetMigrationsResult struct {
	// Time is the service's.
	Time       awsjson.Epoch `json:"time"`
	Migrations []Migration   `json:"migrations"`
}

// Migration is how far a plan is.
type Migration struct {
	MigrationID string         `json:"migrationId"`
	Plan        string         `json:"plan"`
	BegunBy     string         `json:"begunBy"`
	BegunAt     awsjson.Epoch  `json:"begunAt"`
	State       MigrationState `json:"state"`
	Reason      string         `json:"reason,omitempty"`
	StepAt      awsjson.Epoch  `json:"stepAt"`
	// HeardAt is when the command told last, by the service's clock, and ToldBy with which access key.
	HeardAt awsjson.Epoch `json:"heardAt"`
	ToldBy  string        `json:"toldBy"`
	// Silent says that the plan is under way as far as is known, and that nothing was heard for so long that nobody may be at
	// work with it any more.
	Silent     bool                 `json:"silent"`
	Waves      []MigrationWave      `json:"waves"`
	Exceptions []MigrationException `json:"exceptions"`
	// MoreExceptions is how many others there are, for which there was no room.
	MoreExceptions int `json:"moreExceptions"`
	// Counts are how many instances are how far, by wave; under the empty name are those of no wave that is listed, such as
	// what an earlier plan of the same journal has required.
	Counts map[string]map[string]int `json:"counts"`
}

// GetMigratedInstancesRequest asks for a page of a plan's instances, in the plan's order.
type GetMigratedInstancesRequest struct {
	MigrationID string `json:"migrationId" check:"required"`
	// Wave is theirs, the empty one for those of none that is listed; absent: any.
	Wave     *string       `json:"wave,omitzero"`
	Step     MigrationStep `json:"step,omitzero"`
	PageSize *int          `json:"pageSize,omitzero"` // 1 to 200; 50
	Page     *int          `json:"page,omitzero"`     // from 1 on
}

// GetMigratedInstancesResult is one page, and how many there are in all.
type GetMigratedInstancesResult struct {
	Instances []MigratedInstance `json:"instances"`
	Total     int                `json:"total"`
	Pages     int                `json:"pages"`
}
