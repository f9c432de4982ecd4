package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/openimds/openimds/backup"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store/bolt"
)

// restoring leads the name of the folder, in the data directory, in which a restore is under way.
const restoring = ".restore-"

// Restore makes a data directory of what [Backup] wrote. The directory must be empty or not there: so no server runs
// on it, and nothing is overwritten. Everything is checked against its sum, and the store read whole, before anything
// gets its name; the store is the last. After an error the directory is empty again; a server does not start on one
// where a restore was interrupted.
func Restore(file, dataDir string) error {
	in, err := openBackup(file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	dir, err := emptyDir(dataDir)
	if err != nil {
		return err
	}
	like, err := os.Stat(dir)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(dir, restoring)
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	names, err := unpackBackup(in, work, like)
	if err != nil {
		return fmt.Errorf("the backup %s cannot be restored: %w; nothing was", file, err)
	}
	if err := bolt.Check(filepath.Join(work, StoreFile)); err != nil {
		return fmt.Errorf("the backup %s cannot be restored: %w; nothing was", file, err)
	}
	for i, name := range names {
		if err := safefile.MoveNew(filepath.Join(work, name), filepath.Join(dir, name)); err != nil {
			for _, made := range names[:i] {
				_ = os.RemoveAll(filepath.Join(dir, made))
			}
			return fmt.Errorf("the backup %s cannot be restored: %w; nothing was", file, err)
		}
	}
	return nil
}

func openBackup(file string) (*os.File, error) {
	in, err := safefile.Open(file, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	info, err := in.Stat()
	if err == nil {
		err = safefile.Trusted(file, info) // whoever could write it would choose the operators' keys
	}
	if err != nil {
		_ = in.Close()
		return nil, err
	}
	return in, nil
}

// emptyDir makes the directory, or refuses one that has anything in it, and returns where it really is.
func emptyDir(dataDir string) (string, error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return "", err
	}
	dir, err := safefile.Directory(dataDir)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return dir, err
	}
	if conn, err := dialBackup(context.Background(), dir); err == nil {
		_ = conn.Close()
		return "", fmt.Errorf("a server runs on %s: stop it and move its data away, or restore to another --data-dir", dataDir)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), restoring) {
			return "", fmt.Errorf("a restore to %s was interrupted, or is under way: remove all that is in there and begin anew", dataDir)
		}
	}
	return "", fmt.Errorf("%s is not empty, and nothing in it is overwritten: move what is there away, or restore to another --data-dir", dataDir)
}

// unpackBackup writes the files of a backup below work, for the owner of like, and returns what is there by then, in the order
// in which it is to be moved: the store is the last.
func unpackBackup(in io.Reader, work string, like fs.FileInfo) (names []string, err error) {
	store := false
	err = backup.Read(in, func(name string, content io.Reader) error {
		if !kept(name) {
			return fmt.Errorf("it has %q, which no backup has", name)
		}
		top, _, below := strings.Cut(name, "/")
		switch {
		case name == StoreFile:
			store = true
		case !slices.Contains(names, top):
			names = append(names, top)
		}
		if below {
			if err := makeFolders(work, filepath.Dir(filepath.FromSlash(name)), like); err != nil {
				return err
			}
		}
		return unpackFile(filepath.Join(work, filepath.FromSlash(name)), content, like)
	})
	if err == nil && !store {
		err = errors.New("it has no store")
	}
	return append(names, StoreFile), err
}

// makeFolders makes a folder below work, and those above it.
func makeFolders(work, folder string, like fs.FileInfo) error {
	if folder == "." {
		return nil
	}
	if err := makeFolders(work, filepath.Dir(folder), like); err != nil {
		return err
	}
	path := filepath.Join(work, folder)
	if err := os.Mkdir(path, 0o700); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return safefile.Give(path, like)
}

func unpackFile(path string, content io.Reader, like fs.FileInfo) error {
	f, err := safefile.Create(path, 0o600)
	if err != nil {
		return err
	}
	defer f.Discard()
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if err := f.PlaceNew(); err != nil {
		return err
	}
	return safefile.Give(path, like)
}

// refuseRestoring refuses a data directory that is not whole.
func refuseRestoring(dir string) error {
	found, err := filepath.Glob(filepath.Join(dir, restoring+"*"))
	if err != nil || len(found) == 0 {
		return nil
	}
	return fmt.Errorf("a restore to the data directory %s was interrupted, or is under way: remove all that is in there and restore again", dir)
}
