package audit

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/openimds/openimds"
)

// maxRead is how much of the log's end is read for the changes of single resources: a few hundred thousand lines.
const maxRead = 32 << 20

var _ openimds.ChangeLog = (*Log)(nil)

// Changes implements [openimds.ChangeLog]. What was rotated away is not known, nor is what is much further from the end
// than maxRead.
func (l *Log) Changes(_ context.Context, resource string) (found []openimds.AuditEntry, since time.Time, err error) {
	f, at, since, err := l.index.find(l.cfg.Path, resource)
	if f == nil || err != nil {
		return nil, since, err
	}
	defer func() { _ = f.Close() }()
	var line []byte
	for _, p := range at {
		line = slices.Grow(line[:0], p.size)[:p.size]
		if _, err := f.ReadAt(line, p.at); err != nil && !errors.Is(err, io.EOF) { // behind the end of what was cut off since
			return nil, time.Time{}, err
		}
		for _, e := range entries(line) {
			if e.Resource != resource || e.Change == "" {
				continue // a refusal
			}
			if e.Failure == "" {
				found = append(found, e)
				continue
			}
			// The line before told of what did not happen, or may not have.
			found = slices.DeleteFunc(found, func(told openimds.AuditEntry) bool { return told.Change == e.Change })
		}
	}
	return found, since, nil
}
