package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/safefile"
)

// indexIdle is for how long the places of lines are kept that nobody asks for: a million of them take 24 MB.
const indexIdle = 10 * time.Minute

// index knows in which lines of the log's end a resource is named, so that who asks for the changes of ten thousand
// resources has the log read once. It is brought up to the file's end at each question.
type index struct {
	mu    sync.Mutex
	seed  maphash.Seed
	info  os.FileInfo // of the file that it is of
	log   string      // as in pager
	begin int64       // where the first line begins that it has
	end   int64       // up to where it has all whole lines
	since time.Time   // of the first entry
	lines map[uint64][]lineAt
	idle  *time.Timer
}

// lineAt is a line of the file.
type lineAt struct {
	at   int64
	size int
}

// find returns the lines in which a resource is named, the earliest first, as they stand in the file that it returns
// opened, and since when all of them are known. No file: there is no log.
func (x *index) find(path, resource string) (f *os.File, found []lineAt, since time.Time, err error) {
	f, err = safefile.Open(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, time.Time{}, nil
	}
	if err != nil {
		return nil, nil, time.Time{}, err
	}
	name, err := json.Marshal(resource)
	if err == nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if err = x.update(f); err == nil {
			return f, x.lines[maphash.Bytes(x.seed, name)], x.since, nil
		}
	}
	_ = f.Close()
	return nil, nil, time.Time{}, err
}

// update brings the index up to the end of the file. x.mu is held.
func (x *index) update(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	first, err := (&pager{f: f}).first()
	if err != nil {
		return err
	}
	log := nameOf(first)
	if x.info == nil || !os.SameFile(x.info, info) || log != x.log || size < x.end || size-x.begin > 2*maxRead {
		x.forget()
		x.seed, x.lines = maphash.MakeSeed(), map[uint64][]lineAt{}
		x.begin = max(0, size-maxRead)
		x.end = x.begin
		if x.begin > 0 { // the rest of a line
			if x.end, err = behindLine(f, x.begin, size); err != nil {
				return err
			}
			x.begin = x.end
		}
	}
	x.info, x.log = info, log
	if x.idle == nil {
		x.idle = time.AfterFunc(indexIdle, func() {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.forget()
		})
	} else {
		x.idle.Reset(indexIdle)
	}
	return x.read(f, size)
}

// forget gives its memory back. x.mu is held.
func (x *index) forget() {
	x.info, x.lines, x.begin, x.end, x.since = nil, nil, 0, 0, time.Time{}
}

// behindLine is where the line ends that has that place.
func behindLine(f io.ReaderAt, at, size int64) (int64, error) {
	part := make([]byte, windowSize)
	for at < size {
		n, err := f.ReadAt(part, at)
		if i := bytes.IndexByte(part[:n], '\n'); i >= 0 {
			return at + int64(i) + 1, nil
		}
		if at += int64(n); err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if n == 0 {
			break
		}
	}
	return at, nil
}

// read takes up the whole lines between the end of the index and that of the file.
func (x *index) read(f io.ReaderAt, size int64) error {
	text := make([]byte, min(windowSize, max(size-x.end, 0)))
	for x.end < size {
		n, err := f.ReadAt(text[:min(int64(len(text)), size-x.end)], x.end)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		whole := bytes.LastIndexByte(text[:n], '\n') + 1
		if whole == 0 {
			if n < windowSize {
				return nil // a line in the making
			}
			// Longer than any line: it is no entry.
			if x.end, err = behindLine(f, x.end, size); err != nil {
				return err
			}
			continue
		}
		for line := range bytes.Lines(text[:whole]) {
			x.take(line)
			x.end += int64(len(line))
		}
	}
	return nil
}

// take takes up one line, which stands at the end of what the index has.
func (x *index) take(line []byte) {
	if x.since.IsZero() {
		var first openimds.AuditEntry
		if json.Unmarshal(line, &first) == nil {
			x.since = first.When
		}
	}
	const member = `"resource":`
	for rest := line; ; { // a line has several where it was torn, and such a member may be further down too
		i := bytes.Index(rest, []byte(member+`"`))
		if i < 0 {
			return
		}
		rest = rest[i+len(member):]
		end := bytes.IndexByte(rest[1:], '"') // names of resources have no characters that are escaped
		if end < 0 {
			return
		}
		name := maphash.Bytes(x.seed, rest[:end+2])
		if of := x.lines[name]; len(of) == 0 || of[len(of)-1].at != x.end {
			x.lines[name] = append(of, lineAt{x.end, len(line)})
		}
		rest = rest[end+2:]
	}
}
