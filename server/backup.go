package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds/backup"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/socketowner"
	"github.com/openimds/openimds/store/bolt"
)

// backupSocket is where a running server gives a backup to whoever may read its data directory.
const backupSocket = "backup.sock"

// backupStall is how long a server waits for who takes a backup to go on: while the store is copied, a commit for
// which its file has to grow a good deal waits.
const backupStall = 10 * time.Second

// copier copies a store while it may be changed.
type copier func(copy func(size int64, content io.WriterTo) error) error

// archive writes all of a data directory that there is to keep. The store comes first: what is done from then on the
// audit log may tell of, as of what a process was ended before.
func archive(w io.Writer, dataDir string, copyStore copier) error {
	out := backup.NewWriter(w, time.Now())
	err := copyStore(func(size int64, content io.WriterTo) error { return out.Add(StoreFile, size, content) })
	if err == nil {
		err = addFiles(out, dataDir)
	}
	return errors.Join(err, out.Close(err))
}

// addFiles adds all files beside the store, but for those that belong to a running process.
func addFiles(out *backup.Writer, dataDir string) error {
	return filepath.WalkDir(dataDir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it was replaced meanwhile
		}
		name, rerr := filepath.Rel(dataDir, path)
		if err = errors.Join(err, rerr); err != nil || name == "." {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case !kept(name) && e.IsDir():
			return filepath.SkipDir
		case !kept(name) || !e.Type().IsRegular() || name == StoreFile:
			return nil
		}
		if err := addFile(out, dataDir, name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// kept says whether a file of the data directory is one to keep, by its name: not a reserve, a lock, a socket, where this
// server is, or one in the making.
func kept(name string) bool {
	return filepath.IsLocal(name) && name != EndpointsFile && name != ConsoleSessionsFile && !strings.HasPrefix(name, ".") && !strings.Contains(name, "/.") && !strings.Contains(name, "\\") &&
		!slices.Contains([]string{".reserve", ".lock", ".sock"}, filepath.Ext(name))
}

// addFile adds one as it is now: files are replaced whole, and the log only grows.
func addFile(out *backup.Writer, dataDir, name string) error {
	f, err := safefile.Open(filepath.Join(dataDir, filepath.FromSlash(name)), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return out.Add(name, info.Size(), writerTo{io.NewSectionReader(f, 0, info.Size())})
}

// writerTo is a reader, written out.
type writerTo struct{ io.Reader }

// WriteTo is [io.WriterTo].
func (r writerTo) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, r.Reader) }

// runBackups gives backups, one at a time, until the context ends. A data directory that can hold no socket costs
// only this.
func (s *Server) runBackups(ctx context.Context, running *sync.WaitGroup) {
	l, err := listenBackup(s.cfg.DataDir)
	if err != nil {
		s.log.Warn("no backup can be made while the server runs", "error", err)
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	running.Go(func() {
		defer stop()
		for {
			conn, err := l.Accept()
			if err != nil {
				if ctx.Err() == nil {
					s.log.Warn("no backup can be made any more while the server runs", "error", err)
				}
				return
			}
			if !socketowner.PeerIsUs(conn.(*net.UnixConn)) {
				_ = conn.Close()
				continue
			}
			s.giveBackup(ctx, conn)
		}
	})
}

func (s *Server) giveBackup(ctx context.Context, conn net.Conn) {
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	if err := archive(patient{conn}, s.cfg.DataDir, s.file.Copy); err != nil {
		s.log.Warn("a backup could not be made", "error", err)
		return
	}
	s.log.Info("a backup was made")
}

// patient waits for its reader at each write, but not for ever.
type patient struct{ net.Conn }

func (p patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(backupStall)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

// listenBackup makes the socket, in place of one that a killed process left. The directory says who may connect, and whoever
// accepts asks who did.
func listenBackup(dataDir string) (net.Listener, error) {
	path, done, err := socketPath(dataDir)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		done()
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		done()
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil && runtime.GOOS != "windows" {
		_ = l.Close()
		done()
		return nil, err
	}
	return closing{l, done}, nil
}

// closing does something more when a listener is closed.
type closing struct {
	net.Listener
	done func()
}

// Close is [net.Listener].
func (c closing) Close() error {
	defer c.done()
	return c.Listener.Close() // removes the socket, by its path
}

// socketPath is a path to the socket that is short enough for one (unix(7): 107 bytes, elsewhere 103), until done.
func socketPath(dataDir string) (path string, done func(), err error) {
	const most = 100
	path = filepath.Join(dataDir, backupSocket)
	if len(path) <= most {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the path %s is too long for a socket", path)
	}
	dir, err := os.Open(dataDir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), backupSocket), func() { _ = dir.Close() }, nil
}

// Backup writes all of a data directory that there is to keep into a new file, mode 0600: the store, and with it
// every instance's key; the access keys of the control API; the keys that sign; the audit log. A server that runs on the directory gives a copy of one moment, and goes on meanwhile;
// running says that one did. What is written is read back against its sums before it gets its name.
func Backup(ctx context.Context, dataDir, file string) (running bool, err error) {
	if _, err := os.Lstat(filepath.Join(dataDir, StoreFile)); errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("no server has its data in %s; records that are in etcd are backed up by its snapshots", dataDir)
	}
	if _, err := os.Lstat(file); err == nil {
		return false, fmt.Errorf("%s is there already, and is not overwritten; name another file", file)
	}
	out, err := safefile.Create(file, 0o600)
	if err != nil {
		return false, err
	}
	defer out.Discard()
	conn, err := dialBackup(ctx, dataDir)
	if running = err == nil; running {
		_, err = io.Copy(out, conn)
		err = errors.Join(err, conn.Close())
	} else {
		err = archive(out, dataDir, func(copy func(int64, io.WriterTo) error) error {
			return bolt.Copy(filepath.Join(dataDir, StoreFile), copy)
		})
	}
	if err != nil {
		return running, fmt.Errorf("no backup was made: %w", err)
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return running, err
	}
	if err := backup.Read(out, func(string, io.Reader) error { return nil }); err != nil {
		return running, fmt.Errorf("no backup was made: %w", err)
	}
	if err := out.PlaceNew(); errors.Is(err, fs.ErrExist) {
		return running, fmt.Errorf("%s has come meanwhile, and is not overwritten; name another file", file)
	} else if err != nil {
		return running, err
	}
	return running, nil
}

// dialBackup connects to the server that runs on a data directory.
func dialBackup(ctx context.Context, dataDir string) (net.Conn, error) {
	path, done, err := socketPath(dataDir)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		context.AfterFunc(ctx, func() { _ = conn.Close() })
	}
	return conn, err
}
