package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/safefile"
)

// Bounds of the reading of one page, in bytes. Whoever looks for what is rare reads more pages, some of them empty.
const (
	windowSize = 256 << 10 // four of the longest lines
	maxPage    = 8 << 20
)

// outOfOrder is by how much a line may be older than one before it: those of requests that waited for the disk together,
// and of a clock that was set. It may be set by more, for a while: what is older still is read past if it is no more than
// oldTogether bytes.
const (
	outOfOrder  = time.Hour
	oldTogether = 1 << 20
)

// Entries implements [openimds.ChangeLog].
func (l *Log) Entries(_ context.Context, q openimds.AuditQuery) (openimds.AuditPage, error) {
	return Page(l.cfg.Path, q, func(*openimds.AuditEntry) bool { return true })
}

// EntriesOf is Entries among those that of says are meant, which may change what it is given.
func (l *Log) EntriesOf(q openimds.AuditQuery, of func(*openimds.AuditEntry) bool) (openimds.AuditPage, error) {
	return Page(l.cfg.Path, q, of)
}

// Page reads a page of the log at path from its end on, while it may be written, rotated and cut off. It opens the file
// for itself, and so takes no lock that a writer waits for.
func Page(path string, q openimds.AuditQuery, of func(*openimds.AuditEntry) bool) (openimds.AuditPage, error) {
	f, err := safefile.Open(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return openimds.AuditPage{Rotated: q.Place != ""}, nil
	}
	if err != nil {
		return openimds.AuditPage{}, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return openimds.AuditPage{}, err
	}
	p := pager{f: f, query: &q, of: of, end: info.Size()}
	if err := p.begin(); err != nil || p.page.Rotated {
		return p.page, err
	}
	return p.page, p.read()
}

// pager reads one page.
type pager struct {
	f     io.ReaderAt
	query *openimds.AuditQuery
	of    func(*openimds.AuditEntry) bool
	page  openimds.AuditPage
	log   string // tells this log from the one that had the name before it
	end   int64  // of what is left to be read
	old   int    // bytes of lines that are too old, since the last one that is not
}

// begin finds the place to go on from. A place is the log's own and an offset in it: behind a rotation it would be
// somewhere in another log.
func (p *pager) begin() error {
	log, at, whole := strings.Cut(p.query.Place, ".")
	offset, err := strconv.ParseInt(at, 10, 64)
	if p.query.Place != "" && (!whole || err != nil || offset < 0) {
		return openimds.ErrNoPlace
	}
	first, err := p.first()
	if err != nil {
		return err
	}
	var e openimds.AuditEntry
	if json.Unmarshal(first, &e) == nil {
		p.page.Begins = e.When
	}
	p.log = nameOf(first)
	switch {
	case first == nil:
		p.end, p.page.Rotated = 0, p.query.Place != ""
	case p.query.Place == "":
	case log != p.log || offset > p.end:
		p.page.Rotated = true
	default:
		p.end = offset
	}
	return nil
}

// first is the log's first line, or as much of it as tells it from others; nil: it has none yet.
func (p *pager) first() ([]byte, error) {
	text := make([]byte, maxLine+1)
	n, err := p.f.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	line, _, whole := bytes.Cut(text[:n], []byte("\n"))
	if !whole && n <= maxLine {
		return nil, nil
	}
	return line, nil
}

// nameOf makes a name of a log's first line, which no two logs have alike.
func nameOf(first []byte) string {
	sum := sha256.Sum256(first)
	return hex.EncodeToString(sum[:6])
}

// read reads windows, the last one first, until the page is full or has cost enough.
func (p *pager) read() error {
	for budget := int64(maxPage); p.end > 0; budget -= windowSize {
		if budget <= 0 {
			p.stop()
			return nil
		}
		done, err := p.window()
		if done || err != nil {
			return err
		}
	}
	return nil
}

// stop ends the page where it has come to.
func (p *pager) stop() {
	if p.end > 0 {
		p.page.Next = fmt.Sprintf("%s.%d", p.log, p.end)
	}
}

// window reads the whole lines of what comes before the end. done: the page is over.
func (p *pager) window() (done bool, err error) {
	from := max(0, p.end-windowSize)
	text := make([]byte, p.end-from)
	if _, err := p.f.ReadAt(text, from); err != nil && !errors.Is(err, io.EOF) {
		return true, err
	} else if first, ferr := p.first(); ferr != nil {
		return true, ferr
	} else if err != nil || first == nil || nameOf(first) != p.log {
		p.page.Rotated = true // it was cut off, so that what was read may be of what was written since
		return true, nil
	}
	// What stands behind the last line feed is in the making, or torn, or belongs to a line that was too long.
	ends := text[len(text)-1] == '\n'
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	if from > 0 {
		i := bytes.IndexByte(text, '\n') + 1
		if i == len(text) { // no line is that long
			if ends {
				p.page.Damaged++
			}
			p.end = from
			return false, nil
		}
		from, text = from+int64(i), text[i:]
	}
	for len(text) > 0 {
		start := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
		if p.take(text[start:]) {
			return true, nil
		}
		if text, p.end = text[:start], from+int64(start); len(p.page.Entries) >= p.query.Most {
			p.stop()
			return true, nil
		}
	}
	p.end = from
	return false, nil
}

// take takes a line if it is asked for. over: all before it are too old.
func (p *pager) take(line []byte) (over bool) {
	if len(line) <= 1 {
		return false
	}
	var e openimds.AuditEntry
	if json.Unmarshal(line, &e) != nil {
		p.page.Damaged++
		return false
	}
	if e.When.Before(p.query.Since.Add(-outOfOrder)) {
		p.old += len(line)
		return p.old > oldTogether
	}
	p.old = 0
	if p.of(&e) && p.query.Wants(&e) {
		p.page.Entries = append(p.page.Entries, e)
	}
	return false
}
