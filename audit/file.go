package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/openimds/openimds/safefile"
)

// maxLatest is how much of the log's end is looked through at the start, in bytes.
const maxLatest = 1 << 20

// file is the place of the lines. It is found by its name each time, for it may have been rotated.
type file struct {
	path string
	f    handle
	// torn says that the file may end within a line, which must not swallow the next.
	torn bool
}

// handle is an open file. Tests have some on disks that fail.
type handle interface {
	io.WriteCloser
	Stat() (fs.FileInfo, error)
	Sync() error
	Truncate(size int64) error
}

// open opens the file that has the name now, and returns its end.
func (l *file) open() (end []byte, err error) {
	_, err = os.Lstat(l.path)
	made := errors.Is(err, fs.ErrNotExist)
	f, err := safefile.Open(l.path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := safefile.Trusted(l.path, info); err != nil {
		return nil, err
	}
	if made {
		if err := safefile.SyncDirectory(filepath.Dir(l.path)); err != nil {
			return nil, err
		}
	}
	start := max(0, info.Size()-maxLatest)
	if end, err = io.ReadAll(io.NewSectionReader(f, start, info.Size()-start)); err != nil {
		return nil, err
	}
	_ = l.close()
	l.f, l.torn = f, len(end) > 0 && end[len(end)-1] != '\n'
	return end, nil
}

func (l *file) close() error {
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// here tells whether the open file still has the name.
func (l *file) here() (size int64, here bool) {
	if l.f == nil {
		return 0, false
	}
	named, err := os.Lstat(l.path)
	if err != nil {
		return 0, false
	}
	open, err := l.f.Stat()
	return named.Size(), err == nil && os.SameFile(named, open)
}

// maxRotations is how often lines are written anew because the file was rotated under the pen.
const maxRotations = 3

// append writes whole lines, durably if that is asked for, to the file that has the name before and
// after. After an error, left says that some of them may be in the file.
func (l *file) append(lines []byte, durable bool) (left bool, err error) {
	for range maxRotations {
		size, here := l.here()
		if !here {
			if _, err := l.open(); err != nil {
				return left, err
			}
			if size, here = l.here(); !here {
				continue
			}
		}
		if torn, err := l.put(lines, size, durable); err != nil {
			return torn || left, err
		}
		if now, here := l.here(); here && now >= size+int64(len(lines)) {
			return false, nil
		}
		left = true // renamed, removed, or cut off: where the lines are now, nobody can tell
	}
	return left, fmt.Errorf("%s was exchanged or cut off again and again", l.path)
}

// put writes lines behind the file's size, or leaves it as it was; if not even that can be, it is torn.
func (l *file) put(lines []byte, size int64, durable bool) (torn bool, err error) {
	if len(lines) == 0 {
		return false, nil
	}
	if l.torn {
		lines = append([]byte{'\n'}, lines...)
	}
	if _, err = l.f.Write(lines); err == nil && durable {
		// After a failure the kernel may call the pages clean; the next lines get pages of their own, and
		// what was not acknowledged is taken back.
		err = l.f.Sync()
	}
	if err == nil {
		l.torn = false
		return false, nil
	}
	if l.f.Truncate(size) != nil {
		l.torn, torn = true, true
	}
	return torn, err
}
