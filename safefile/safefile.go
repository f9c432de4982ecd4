// Package safefile writes files as a program has to that may run as root, in directories and under
// names that somebody else has chosen: whole or not at all, under a random name until then, and never
// through a symbolic link. It also says whether others could get at a directory or a file.
package safefile

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// ErrNotFile means that something other than a plain file has the name.
var ErrNotFile = errors.New("not a plain file")

// notFile is an [ErrNotFile] with its text for people.
type notFile struct{ text string }

func (e notFile) Error() string        { return e.text }
func (e notFile) Is(target error) bool { return target == ErrNotFile }

// Plain refuses a name that a symbolic link, a directory or a device has. That nothing has it is fine.
func Plain(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	return plain(path, info)
}

func plain(path string, info fs.FileInfo) error {
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return notFile{fmt.Sprintf("%s is a symbolic link, and none is followed; name the file itself, or remove the link", path)}
	case !info.Mode().IsRegular():
		return notFile{path + " is there and is not a file; name another"}
	}
	return nil
}

// File is a file in the making. Until it is placed it has a random name in the directory where it is
// to be, and whoever reads there meets the old file, or none.
type File struct {
	*os.File
	path   string
	placed bool
}

// Create begins a file that is to be at path, with that mode less the umask.
func Create(path string, mode fs.FileMode) (*File, error) {
	if err := Plain(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(pattern(path)+rand.Text()[:16], os.O_RDWR|os.O_CREATE|os.O_EXCL|noFollow, mode)
	if err != nil {
		return nil, told("create", path, err)
	}
	return &File{File: f, path: path}, nil
}

// pattern is how the names of files in the making for path begin.
func pattern(path string) string {
	dir, base := filepath.Split(path)
	return dir + "." + base[:min(len(base), 200)] + ".new-" // a name has at most 255 bytes
}

// Like gives the file the mode and the owner of another, whose place it is to take.
func (f *File) Like(info fs.FileInfo) error {
	if err := f.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	return giveTo(f.File, info)
}

// Place makes the file durable and gives it its name, which an earlier one loses.
func (f *File) Place() error {
	return f.place(func() error {
		if err := Plain(f.path); err != nil {
			return err
		}
		return os.Rename(f.Name(), f.path)
	})
}

// PlaceNew is Place for a file that must not replace another, even one made in the same moment: that
// one then stays, and the error is fs.ErrExist.
func (f *File) PlaceNew() error {
	return f.place(func() error {
		err := os.Link(f.Name(), f.path)
		if err == nil || errors.Is(err, fs.ErrExist) {
			return errors.Join(err, os.Remove(f.Name()))
		}
		if _, err := os.Lstat(f.path); err == nil {
			return fs.ErrExist
		}
		return os.Rename(f.Name(), f.path) // of file systems without links
	})
}

func (f *File) place(name func() error) error {
	err := f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = name()
	}
	if err != nil {
		f.Discard()
		return told("write", f.path, err)
	}
	f.placed = true
	return told("write", f.path, syncDir(filepath.Dir(f.path)))
}

// Discard gives the file up. It does nothing to one that is placed.
func (f *File) Discard() {
	if !f.placed {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
}

// Write writes a file whole and durably, or leaves what is there.
func Write(path string, content []byte, mode fs.FileMode) error {
	f, err := Create(path, mode)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := f.Write(content); err != nil {
		return told("write", path, err)
	}
	return f.Place()
}

// Clear takes away what an earlier run wrote to path, and finds out whether this one could write it:
// who waits for the file must neither take the old one for it nor wait in vain.
func Clear(path string) error {
	f, err := Create(path, 0o600)
	if err != nil {
		return err
	}
	f.Discard()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Sweep removes what killed processes left of files for path. Only who keeps others from writing there
// may call it.
func Sweep(path string) {
	dir, base := filepath.Split(pattern(path))
	if dir == "" {
		dir = "."
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if name := e.Name(); len(name) == len(base)+16 && name[:len(base)] == base {
			_ = os.Remove(filepath.Join(dir, name))
		}
	}
}

// Open opens a plain file as os.OpenFile does, but follows no link in its last place, and waits for
// nobody at the other end of a pipe.
func Open(path string, flag int, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag|noFollow|nonBlock, mode)
	if err != nil {
		if perr := Plain(path); perr != nil {
			return nil, perr
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = plain(path, info)
	}
	if err == nil && runtime.GOOS == "windows" { // which has no O_NOFOLLOW
		err = Plain(path)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// MoveNew gives a file or directory another name on the same file system, durably, which nothing may have.
func MoveNew(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return told("write", to, cmp.Or(err, fs.ErrExist))
	}
	if err := os.Rename(from, to); err != nil {
		return told("write", to, err)
	}
	return told("write", to, syncDir(filepath.Dir(to)))
}

// Give gives a file or directory that this user has made the owner of another.
func Give(path string, like fs.FileInfo) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(giveTo(f, like), f.Close())
}

// SyncDirectory makes the names in a directory durable, where the system needs to be told.
func SyncDirectory(dir string) error { return syncDir(dir) }

// told is err as an error of the file that was asked for, whatever its name was until then.
func told(op, path string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[notFile](err); ok {
		return err
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		err = l.Err
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}
