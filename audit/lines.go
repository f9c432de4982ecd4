package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"os"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/safefile"
)

// ErrDamaged means that a line of a log cannot be read; the others can.
var ErrDamaged = errors.New("a line of the audit log cannot be read")

// Read reads the entries of the log at path, or of a part of it that was rotated away, the earliest first, while it may
// be written. Behind a line that is damaged it goes on, behind another error it does not.
func Read(path string) iter.Seq2[openimds.AuditEntry, error] {
	return func(yield func(openimds.AuditEntry, error) bool) {
		f, err := safefile.Open(path, os.O_RDONLY, 0)
		if err != nil {
			yield(openimds.AuditEntry{}, err)
			return
		}
		defer func() { _ = f.Close() }()
		for lines := bufio.NewReader(f); ; {
			line, err := lines.ReadBytes('\n')
			if errors.Is(err, io.EOF) {
				return // the last line is whole, or in the making
			}
			if err != nil {
				yield(openimds.AuditEntry{}, err)
				return
			}
			var e openimds.AuditEntry
			if len(line) > 1 && json.Unmarshal(line, &e) != nil {
				e, err = openimds.AuditEntry{}, ErrDamaged
			}
			if len(line) > 1 && !yield(e, err) {
				return
			}
		}
	}
}
