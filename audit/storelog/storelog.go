// Package storelog keeps the audit log of servers that have one store: whichever of them is asked tells what all of them were
// asked for. What was told of a change is a record in the very commit of the change, so that neither is without the other;
// refusals and sign-ins follow within moments. Each server's own file ([audit.Log]) has its part of it as well.
package storelog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/audit"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// maxLines is how many bytes of entries one commit carries beside its change, which are there twice. What is more is
// in the server's own file alone.
const maxLines = 64 << 10

// Log is that log as one server has it.
type Log struct {
	store  store.Store
	server string
}

// New makes the log in a store, of which server is the name of the one that tells it.
func New(s store.Store, server string) *Log { return &Log{store: s, server: server} }

// Begin writes down since when the log has all, unless it has begun before.
func (l *Log) Begin(ctx context.Context, now time.Time) error {
	value, err := records.Encode(now.UTC())
	if err != nil {
		return err
	}
	for _, key := range []string{records.AuditSinceKey, records.AuditOtherSinceKey} {
		_, err := l.store.Commit(ctx, store.Change{Verb: store.Put, Key: key, Value: value, If: store.IfAbsent})
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return nil
}

// told is what a record of the log holds.
type told struct {
	Lines []json.RawMessage `json:"lines"`
	// Ahead says that the record was written before the commit of its change, which was made if that has a record of the same mark.
	Ahead bool `json:"ahead,omitempty"`
}

// maxOf is how many resources are told of in the commit of a change; those of a change of more are ahead of it, as a
// store takes no commit of any length.
const maxOf = 8

// Records are those of the entries of one change: within the commit that makes it, and those that are committed ahead of it.
// If it is not made, what was ahead tells nothing to anybody, and is best deleted.
func (l *Log) Records(entries []openimds.AuditEntry) (ahead, within []store.Change, err error) {
	if len(entries) == 0 {
		return nil, nil, nil
	}
	lines, err := l.lines(entries)
	if err != nil {
		return nil, nil, err
	}
	mark := records.NewAuditMark(entries[0].When)
	of := map[string][]json.RawMessage{}
	for i, e := range entries {
		if records.AuditIndexed(e.Resource) {
			of[e.Resource] = append(of[e.Resource], lines[i])
		}
	}
	add := func(to *[]store.Change, key string, t told) {
		value, failed := records.Encode(t)
		*to, err = append(*to, store.Change{Verb: store.Put, Key: key, Value: value, If: store.IfAbsent}), errors.Join(err, failed)
	}
	add(&within, records.AuditPrefix+mark, told{Lines: lines})
	to := &within
	if len(of) > maxOf {
		to = &ahead
	}
	for _, resource := range slices.Sorted(maps.Keys(of)) {
		add(to, records.AuditOfKey(resource, mark), told{Lines: of[resource], Ahead: to == &ahead})
	}
	return ahead, within, err
}

// lines are the entries as they stand in a log.
func (l *Log) lines(entries []openimds.AuditEntry) ([]json.RawMessage, error) {
	lines, size := make([]json.RawMessage, len(entries)), 0
	for i, e := range entries {
		e.Server = l.server
		line, err := audit.Line(e)
		if err != nil {
			return nil, err
		}
		if size += len(line); size > maxLines {
			e.Before, e.After = nil, map[string]any{"omitted": fmt.Sprintf("[%d bytes, in the log of %s]", len(line), l.server)}
			if line, err = audit.Line(e); err != nil {
				return nil, err
			}
		}
		lines[i] = line
	}
	return lines, nil
}

// errNotMade means that a record tells of a change that was not made.
var errNotMade = errors.New("that was not made")

// entriesOf is what a record of the log tells.
func (l *Log) entriesOf(ctx context.Context, r store.Record) ([]openimds.AuditEntry, error) {
	t, err := records.Decode[told](r)
	if err != nil {
		return nil, err
	}
	if t.Ahead {
		_, err := l.store.Get(ctx, records.AuditPrefix+r.Key[strings.LastIndexByte(r.Key, '/')+1:])
		if errors.Is(err, store.ErrNoRecord) {
			return nil, errNotMade
		}
		if err != nil {
			return nil, err
		}
	}
	entries := make([]openimds.AuditEntry, len(t.Lines))
	for i, line := range t.Lines {
		if err := json.Unmarshal(line, &entries[i]); err != nil {
			return nil, fmt.Errorf("record %s is damaged: %w", r.Key, err)
		}
	}
	return entries, nil
}
