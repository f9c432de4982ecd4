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

// takeBackTime is how long a change that failed waits for the line that says so. A log that takes longer
// writes it later.
const takeBackTime = 2 * time.Second

// takeBack tells that a change that was told did not happen, or may not have. The request may be over.
func (s *Service) takeBack(ctx context.Context, entries []openimds.AuditEntry, why string) {
	if len(entries) == 0 {
		return
	}
	failed := make([]openimds.AuditEntry, len(entries))
	for i, e := range entries {
		failed[i] = e.Failed(s.cfg.Now().UTC(), why)
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), takeBackTime)
	defer done()
	_ = s.cfg.Audit(ctx, failed...) // whoever keeps the log also knows that it could not be written
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
