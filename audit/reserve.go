package audit

import "github.com/openimds/openimds"

// reserveSize is room for the lines of some deletions, in bytes. On a full disk the reserve is given up,
// so that what makes the store smaller can still be told, and so still be done. While it is gone, the
// room is for such lines alone.
const reserveSize = 128 << 10

// frees tells a request that makes the store smaller: something is deleted, and nothing made.
func frees(entries []openimds.AuditEntry) bool {
	deleted := false
	for _, e := range entries {
		if e.Failure == "" && e.Before == nil && e.After != nil {
			return false
		}
		deleted = deleted || e.Before != nil && e.After == nil
	}
	return deleted
}
