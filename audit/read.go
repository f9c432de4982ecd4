package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/openimds/openimds"
)

// maxRead is how much of the log's end is read for the changes of one resource: a few hundred thousand lines.
const maxRead = 32 << 20

var _ openimds.ChangeLog = (*Log)(nil)

// Changes implements [openimds.ChangeLog]. What was rotated away is not known, nor is what is further from the end
// than maxRead.
func (l *Log) Changes(resource string) (found []openimds.AuditEntry, since time.Time, err error) {
	text, err := tail(l.cfg.Path, maxRead)
	if err != nil {
		return nil, time.Time{}, err
	}
	name, err := json.Marshal(resource)
	if err != nil {
		return nil, time.Time{}, err
	}
	for line := range bytes.Lines(text) {
		if since.IsZero() {
			var first openimds.AuditEntry
			if json.Unmarshal(line, &first) == nil {
				since = first.When
			}
		}
		if !bytes.Contains(line, name) { // most are of others, and need not be understood
			continue
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

// tail is the end of a file, from the beginning of a line.
func tail(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(0, info.Size()-most)
	text, err := io.ReadAll(io.NewSectionReader(f, from, info.Size()-from))
	if err != nil || from == 0 {
		return text, err
	}
	_, text, _ = bytes.Cut(text, []byte("\n"))
	return text, nil
}
