package safefile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Directory finds out where dir really is, and refuses one that another user could put files into or
// exchange, as sshd does with StrictModes: it and all above it belong to this user or to root, and
// nobody else may write there, but for directories like /tmp whose sticky bit keeps names in place.
func Directory(dir string) (real string, err error) {
	if real, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if real, err = filepath.EvalSymlinks(real); err != nil {
		return "", err
	}
	at := real
	for {
		info, err := os.Lstat(at)
		if err != nil {
			return "", err
		}
		if !info.IsDir() {
			return "", fmt.Errorf("%s is not a directory", at)
		}
		if err := safeDirectory(at, info, at != real); err != nil {
			return "", err
		}
		above := filepath.Dir(at)
		if above == at {
			return real, nil
		}
		at = above
	}
}

// PlainDirectory is [Directory] for one that may not be a symbolic link itself.
func PlainDirectory(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return plain(dir, info)
	}
	_, err = Directory(dir)
	return err
}

// Ours refuses a file that does not belong to this user, to root, or, when this is root, to the owner
// of the directory that it is in.
func Ours(path string, info fs.FileInfo) error { return ours(path, info) }

// Trusted is [Ours], and refuses a file that others can write.
func Trusted(path string, info fs.FileInfo) error {
	if err := ours(path, info); err != nil {
		return err
	}
	// Windows has no such bits and shows 0666.
	if perm := info.Mode().Perm(); perm&0o022 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("%s can be written by others (mode %04o): run chmod go-w %[1]s", path, perm)
	}
	return nil
}

// Read reads a file of at most limit bytes that others must not have been able to write.
func Read(path string, limit int64) ([]byte, fs.FileInfo, error) { return read(path, limit, 0o022) }

// ReadPrivate reads a file of at most limit bytes that nobody else may even read.
func ReadPrivate(path string, limit int64) ([]byte, fs.FileInfo, error) {
	return read(path, limit, 0o077)
}

func read(path string, limit int64, closed fs.FileMode) ([]byte, fs.FileInfo, error) {
	f, err := Open(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err == nil {
		err = ours(path, info)
	}
	if err != nil {
		return nil, nil, err
	}
	// Windows has no such bits and shows 0666.
	if perm := info.Mode().Perm(); perm&closed != 0 && runtime.GOOS != "windows" {
		return nil, nil, fmt.Errorf("%s is open to others (mode %04o): run chmod 600 %[1]s", path, perm)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return text, info, err
}

// ReadLinked is [Read] of a file that may be a symbolic link, as the managers of certificates make them. What it leads to is
// read.
func ReadLinked(path string, limit int64) ([]byte, fs.FileInfo, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, nil, err
	}
	return Read(real, limit)
}

// ReadSecret is ReadLinked of a key or a password, which others must not be able to read. One of another user, such as
// root, may be there for a group that this user is in.
func ReadSecret(path string, limit int64) ([]byte, error) {
	text, info, err := ReadLinked(path, limit)
	if err != nil {
		return nil, err
	}
	if perm := info.Mode().Perm(); runtime.GOOS != "windows" && (perm&0o037 != 0 || perm&0o040 != 0 && belongsToUs(info)) {
		return nil, fmt.Errorf("%s is open to others (mode %04o): run chmod 600 %[1]s", path, perm)
	}
	return text, nil
}
