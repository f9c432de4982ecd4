package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

type actorKey struct{}

// WithActor returns a context whose changes are put down to who.
func WithActor(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

type requestKey struct{}

type request struct{ id, source string }

// WithRequest returns a context whose changes are put down to the request of that id, which came
// from the address source.
func WithRequest(ctx context.Context, id, source string) context.Context {
	return context.WithValue(ctx, requestKey{}, request{id, source})
}

// RequestSource is the address that the request of a context came from; empty: it came from none.
func RequestSource(ctx context.Context) string {
	asked, _ := ctx.Value(requestKey{}).(request)
	return asked.source
}

func actor(ctx context.Context) string {
	if who, ok := ctx.Value(actorKey{}).(string); ok {
		return who
	}
	return "openimds"
}

// entries are what the audit is told of a commit.
func (s *Service) entries(ctx context.Context, what string, d *draft) []openimds.AuditEntry {
	if s.cfg.Audit == nil {
		return nil
	}
	entries := d.entries
	if len(entries) == 0 {
		for _, op := range d.operations {
			entries = append(entries, openimds.AuditEntry{Resource: string(op.ResourceType) + "/" + op.Resource})
		}
	}
	change := ""
	if len(d.operations) > 0 {
		change = d.operations[0].ID
	} else if len(entries) > 0 {
		change = ownChange + openimds.NewUUID()
	}
	asked, _ := ctx.Value(requestKey{}).(request)
	for i := range entries {
		e := &entries[i]
		e.When, e.Who, e.What, e.Change = d.now, actor(ctx), what, change
		e.RequestID, e.Source = asked.id, asked.source
	}
	return entries
}

// tell writes the entries of a change that is about to be made. Without them it must not be.
func (s *Service) tell(ctx context.Context, entries []openimds.AuditEntry) error {
	if len(entries) == 0 {
		return nil
	}
	err := s.cfg.Audit(ctx, entries...)
	if errors.Is(err, store.ErrFull) {
		return openimds.Errorf(openimds.Unavailable, openimds.AuditAway, "The audit log's disk is full, so nothing is changed: make room, or delete what is not needed").Because(err)
	}
	if err != nil {
		return openimds.Errorf(openimds.Unavailable, openimds.AuditAway, "The audit log cannot be written, so nothing is changed; try again").Because(err)
	}
	return nil
}

// tellAhead writes what is told of a change ahead of its commit, where several servers have one log, and returns it and
// what the commit itself is to carry.
func (s *Service) tellAhead(ctx context.Context, entries []openimds.AuditEntry) (ahead, within []store.Change, err error) {
	if s.cfg.AuditRecords == nil || len(entries) == 0 {
		return nil, nil, nil
	}
	if ahead, within, err = s.cfg.AuditRecords(entries); err == nil && len(ahead) > 0 {
		_, err = s.store.Commit(ctx, ahead...)
	}
	return ahead, within, err
}

// forgetAhead deletes what was told ahead of a change that was not made. If that fails, it stays and tells nobody.
func (s *Service) forgetAhead(ctx context.Context, ahead []store.Change) {
	if len(ahead) == 0 {
		return
	}
	for i := range ahead {
		ahead[i] = store.Change{Verb: store.Delete, Key: ahead[i].Key, If: store.Whatever}
	}
	_, _ = s.store.Commit(ctx, ahead...)
}

// tellAlone is tell of what no commit follows.
func (s *Service) tellAlone(ctx context.Context, entries []openimds.AuditEntry) error {
	if err := s.tell(ctx, entries); err != nil {
		return err
	}
	if err := s.commitEntries(ctx, entries); err != nil {
		s.takeBack(ctx, entries, "not done: the log of all servers could not be written")
		return openimds.Errorf(openimds.Unavailable, openimds.AuditAway, "The audit log that the servers share cannot be written, so nothing is done; try again").Because(err)
	}
	return nil
}

// commitEntries writes entries into the log of all servers, if there is one.
func (s *Service) commitEntries(ctx context.Context, entries []openimds.AuditEntry) error {
	_, within, err := s.tellAhead(ctx, entries)
	if err == nil && len(within) > 0 {
		_, err = s.store.Commit(ctx, within...)
	}
	return err
}

// takeBackTime is how long a change that failed waits for the line that says so. A log that takes longer
// writes it later.
const takeBackTime = 2 * time.Second

// takeBack tells that a change that was told did not happen, or may not have. The request may be over.
func (s *Service) takeBack(ctx context.Context, entries []openimds.AuditEntry, why string) (failed []openimds.AuditEntry) {
	if len(entries) == 0 {
		return nil
	}
	failed = make([]openimds.AuditEntry, len(entries))
	for i, e := range entries {
		failed[i] = e.Failed(s.cfg.Now().UTC(), why)
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), takeBackTime)
	defer done()
	_ = s.cfg.Audit(ctx, failed...) // whoever keeps the log also knows that it could not be written
	return failed
}

// takeBackAlone is takeBack of what no commit was to follow.
func (s *Service) takeBackAlone(ctx context.Context, entries []openimds.AuditEntry, why string) {
	failed := s.takeBack(ctx, entries, why)
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), takeBackTime)
	defer done()
	_ = s.commitEntries(ctx, failed) // it stands in this server's own log
}

// auditDiff returns the members in which two records differ; a nil record has none. What must not
// be told is reduced to the fact that it changed.
func auditDiff(before, after []byte) (was, is map[string]any) {
	b, a := auditMembers(before), auditMembers(after)
	for name := range b {
		if bytes.Equal(b[name], a[name]) {
			delete(b, name)
			delete(a, name)
		}
	}
	return auditShow(b), auditShow(a)
}

func auditMembers(record []byte) map[string]json.RawMessage {
	if record == nil {
		return nil
	}
	var e records.Envelope[map[string]json.RawMessage]
	if err := json.Unmarshal(record, &e); err != nil {
		return nil // a damaged record was refused long before
	}
	for _, name := range []string{"modifiedAt", "heardAt", "stepAt"} { // which differ always and say nothing
		delete(e.Data, name)
	}
	return e.Data
}

func auditShow(members map[string]json.RawMessage) map[string]any {
	if members == nil {
		return nil
	}
	shown := make(map[string]any, len(members))
	for name, value := range members {
		switch name {
		case "tokenKey", "privateKey":
			shown[name] = openimds.Secret(nil).String()
		case "userData":
			shown[name] = fmt.Sprintf("[%d bytes, base64]", len(value)-len(`""`))
		case "recorded":
			var recorded openimds.RecordingSummary
			if json.Unmarshal(value, &recorded) == nil {
				shown["recording"] = fmt.Sprintf("[%d bytes]", recorded.Size)
			}
		case "recording": // of earlier versions
			shown[name] = fmt.Sprintf("[%d bytes]", len(value))
		case "overlay":
			var overlay map[string]json.RawMessage
			if json.Unmarshal(value, &overlay) == nil {
				shown[name] = slices.Sorted(maps.Keys(overlay))
			}
		default:
			shown[name] = value
		}
	}
	return shown
}
