package control

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// concludeTime is how long ago a change may have been told for [Service.ConcludeAudit] to ask what has
// become of it. Operations are kept longer than that.
const concludeTime = time.Hour

// ownChange leads the id of a change that is no operation of a client's.
const ownChange = "own-"

// ConcludeAudit is given what an earlier process told the audit last. A process that was killed may have
// told of a change that it did not come to make: of each such change, the audit is told so. Nothing else
// may change the store meanwhile.
//
// An operation is written in one commit with its change. A change without one is known by the record
// that it was made on: the store lets only one change follow each.
func (s *Service) ConcludeAudit(ctx context.Context, latest []openimds.AuditEntry) error {
	if s.cfg.Audit == nil {
		return nil
	}
	failed := map[string]bool{}
	for _, e := range latest {
		failed[e.Change] = failed[e.Change] || e.Failure != ""
	}
	made, own := map[string]bool{}, map[string][]openimds.AuditEntry{} // by the record that they were made on
	var lost []openimds.AuditEntry
	for _, e := range latest {
		switch {
		case e.Change == "", failed[e.Change], s.cfg.Now().Sub(e.When) > concludeTime:
			continue
		case strings.HasPrefix(e.Change, ownChange):
			if e.Base != nil {
				own[madeOn(e)] = append(own[madeOn(e)], e)
			}
			continue
		}
		switch _, err := s.store.Get(ctx, records.OperationKey(e.Change)); {
		case err == nil:
			made[madeOn(e)] = true
		case errors.Is(err, store.ErrNoRecord):
			lost = append(lost, e.Failed(s.cfg.Now().UTC(), "not made: openimds ended before"))
		default:
			return storeFailed(err)
		}
	}
	for on, rivals := range own {
		why, err := s.concludeOwn(ctx, rivals, made[on])
		if err != nil {
			return err
		}
		for _, e := range rivals {
			if why != "" {
				lost = append(lost, e.Failed(s.cfg.Now().UTC(), why))
			}
		}
	}
	return s.tell(ctx, lost)
}

// madeOn names the record, as it was, that a change was made on.
func madeOn(e openimds.AuditEntry) string {
	if e.Base == nil {
		return e.Change
	}
	return fmt.Sprint(*e.Base, " ", e.Resource)
}

// concludeOwn says why changes on the same record were not made, or may not have been; nothing, if there
// is only one and it was. followed says that another change has come after that record.
func (s *Service) concludeOwn(ctx context.Context, rivals []openimds.AuditEntry, followed bool) (why string, err error) {
	const not = "not made: openimds ended before"
	if followed {
		return not, nil
	}
	now, err := s.store.Get(ctx, resourceKey(rivals[0].Resource))
	switch {
	case err != nil && !errors.Is(err, store.ErrNoRecord):
		return "", storeFailed(err)
	case now.Revision == *rivals[0].Base: // that of no record is 0
		return not, nil
	case len(rivals) > 1:
		return "openimds ended before it was known whether this change was made", nil
	}
	return "", nil
}
