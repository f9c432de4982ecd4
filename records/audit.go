package records

import (
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds"
)

// What the audit was told, in a store that several servers share.
const (
	// AuditPrefix leads what was told of changes, of each commit in one record: its keys go on with a mark. AuditOfPrefix
	// leads the same by resource: its keys go on with the resource, a slash and the mark.
	AuditPrefix   = "audit/"
	AuditOfPrefix = "audit-of/"
	// AuditOtherPrefix leads what changed nothing, refusals and who signed in; its keys go on with a mark.
	AuditOtherPrefix = "audit-other/"
	// AuditSinceKey says since when all that was told of changes is there, AuditOtherSinceKey of the rest.
	AuditSinceKey      = "audit-since"
	AuditOtherSinceKey = "audit-other-since"
)

// NewAuditMark makes what the keys of that moment's entries end in: the later, the earlier in the order of keys, and no two
// alike.
func NewAuditMark(now time.Time) string { return invert(openimds.NewOperationID(now)) }

// AuditMarkBefore is the mark behind which are those of before t.
func AuditMarkBefore(t time.Time) string {
	return strings.TrimPrefix(OperationsBefore(t), OperationPrefix)
}

// AuditTime is when a mark was made, to the millisecond; zero: it is none.
func AuditTime(mark string) time.Time {
	digits := strings.ReplaceAll(invert(mark), "-", "")
	const ofTime = 12
	if len(digits) < ofTime {
		return time.Time{}
	}
	ms, err := strconv.ParseInt(digits[:ofTime], 16, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// AuditOfKey is where the entries of that mark on a resource are.
func AuditOfKey(resource, mark string) string { return AuditOfPrefix + resource + "/" + mark }

// AuditIndexed says whether a resource's entries are found by it: a name has no slash.
func AuditIndexed(resource string) bool {
	return strings.Count(resource, "/") == 1 && !strings.HasSuffix(resource, "/")
}
