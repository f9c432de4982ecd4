package control

import (
	"context"
	"errors"

	"github.com/openimds/openimds"
)

// MaxAuditPage is how many entries a page of the audit log has at most.
const MaxAuditPage = 200

// AuditEntries returns a page of what the audit was told, the latest first, and the host whose log that is; empty:
// it is that of all servers of the store. It waits for nobody who writes.
//
// Errors: InvalidInput/OutOfRange for the size of the page, InvalidInput/Malformed for a place that was not given out;
// OperationFailure/NotEnforced in an installation without an audit; Unavailable/AuditAway when it cannot be read.
func (s *Service) AuditEntries(ctx context.Context, q openimds.AuditQuery) (page openimds.AuditPage, host string, err error) {
	if s.cfg.Changes == nil {
		return page, "", noChangeLog()
	}
	if q.Most < 1 || q.Most > MaxAuditPage {
		return page, "", openimds.Errorf(openimds.InvalidInput, openimds.OutOfRange, "A page has 1 to %d entries", MaxAuditPage)
	}
	page, err = s.cfg.Changes.Entries(ctx, q)
	if errors.Is(err, openimds.ErrNoPlace) {
		return openimds.AuditPage{}, "", openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The page token is not one that was given out for this list")
	}
	if err != nil {
		return openimds.AuditPage{}, "", changesAway(err)
	}
	if s.cfg.AuditRecords != nil {
		return page, "", nil
	}
	return page, s.cfg.Host, nil
}

func noChangeLog() error {
	return openimds.Errorf(openimds.OperationFailure, openimds.NotEnforced, "This installation keeps no log of changes")
}

func changesAway(err error) error {
	return openimds.Errorf(openimds.Unavailable, openimds.AuditAway, "The log of changes cannot be read; try again").Because(err)
}
