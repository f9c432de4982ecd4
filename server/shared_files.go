package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/attest"
	"github.com/openimds/openimds/identity"
	"github.com/openimds/openimds/instanceconnect"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store"
)

const (
	// shareEvery is how often a server looks for files that a command of its machine has changed.
	shareEvery = time.Second
	// maxSharedFile in bytes; see the limits of those who read them.
	maxSharedFile = 1 << 20
)

// sharedNames are the files of a data directory that all servers of a store have in common: whoever signs by a key, or
// verifies what was signed, may have got it from another server.
func sharedNames() []string {
	names := []string{CredentialsFile, ReportKeyFile, InstanceConnectFile}
	for _, form := range identity.Forms() {
		names = append(names, path.Join(IdentityDir, form.String()+".pem"))
	}
	return names
}

// sharedFiles keeps those of one data directory and the store's records of them in step, both ways.
type sharedFiles struct {
	dir   string
	store store.Store
	log   *slog.Logger

	mu    sync.Mutex
	known map[string]store.Record // by name: what both sides had last
}

// shareFiles has the data directory begin with the files that the store has, and gives it those that it has not.
func (s *Server) shareFiles(ctx context.Context) error {
	if s.file != nil {
		return nil
	}
	f := &sharedFiles{dir: s.cfg.DataDir, store: s.store, log: s.log, known: map[string]store.Record{}}
	if err := f.fetch(ctx); err != nil {
		return err
	}
	if len(f.known) < len(sharedNames()) {
		if err := makeFiles(s.cfg.DataDir); err != nil {
			return err
		}
		if err := f.offer(ctx); err != nil {
			return err
		}
	}
	s.shared = f
	return nil
}

// makeFiles makes what a data directory does not have yet.
func makeFiles(dir string) error {
	if _, err := accesskeys.Ensure(filepath.Join(dir, CredentialsFile)); err != nil {
		return err
	}
	if _, err := identity.Ensure(filepath.Join(dir, IdentityDir), time.Now()); err != nil {
		return err
	}
	if _, err := attest.Ensure(filepath.Join(dir, ReportKeyFile)); err != nil {
		return err
	}
	pushed, err := instanceconnect.Open(filepath.Join(dir, InstanceConnectFile))
	if err != nil {
		return err
	}
	return pushed.Prepare(time.Now())
}

// fetch writes what the store has.
func (f *sharedFiles) fetch(ctx context.Context) error {
	for _, name := range sharedNames() {
		r, err := f.store.Get(ctx, records.FileKey(name))
		if errors.Is(err, store.ErrNoRecord) {
			continue
		}
		if err == nil {
			err = f.write(name, r)
		}
		if err != nil {
			return fmt.Errorf("the file %s, which the servers of the store share: %w", name, err)
		}
	}
	return nil
}

// offer gives the store the files that it does not have. Where another server was first, that one's are taken.
func (f *sharedFiles) offer(ctx context.Context) error {
	for {
		var changes []store.Change
		for _, name := range sharedNames() {
			if _, known := f.known[name]; known {
				continue
			}
			text, err := f.read(name)
			if err != nil {
				return err
			}
			changes = append(changes, store.Change{Key: records.FileKey(name), Value: text, If: store.IfAbsent})
		}
		if len(changes) == 0 {
			return nil
		}
		if _, err := f.store.Commit(ctx, changes...); err != nil && !errors.Is(err, store.ErrConflict) {
			return fmt.Errorf("the keys of this server cannot be given to those that share its store: %w", err)
		}
		if err := f.fetch(ctx); err != nil {
			return err
		}
	}
}

func (f *sharedFiles) read(name string) ([]byte, error) {
	text, _, err := safefile.ReadPrivate(filepath.Join(f.dir, filepath.FromSlash(name)), maxSharedFile)
	return text, err
}

// write has the data directory have what the store has, and notes that both have it.
func (f *sharedFiles) write(name string, r store.Record) error {
	return writeShared(f.dir, name, r.Value, func() { f.known[name] = r })
}

func writeShared(dir, name string, text []byte, done func()) error {
	at := filepath.Join(dir, filepath.FromSlash(name))
	if now, _, err := safefile.ReadPrivate(at, maxSharedFile); err != nil || !bytes.Equal(now, text) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := makeDirectoryOf(at); err != nil {
			return err
		}
		if err := safefile.Write(at, text, 0o600); err != nil {
			return err
		}
	}
	done()
	return nil
}

// run keeps both sides in step until the context ends.
func (f *sharedFiles) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { f.look(ctx) })
	reconcile := func(ctx context.Context, all []store.Record) error {
		for _, r := range all {
			if name, ok := records.FileOf(r.Key); ok && r.Value != nil {
				if err := f.reconcile(ctx, name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	store.Follow(ctx, f.store, store.Follower{
		Prefix:  records.FilePrefix,
		Listed:  func(ctx context.Context, page store.Page) error { return reconcile(ctx, page.Records) },
		Changed: reconcile,
		Log:     f.log,
		Away:    "the keys that the servers share cannot be followed; going on with those of the data directory",
	})
}

// look finds what commands of this machine have changed.
func (f *sharedFiles) look(ctx context.Context) {
	tick := time.NewTicker(shareEvery)
	defer tick.Stop()
	for told := ""; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var failed error
		for _, name := range sharedNames() {
			f.mu.Lock()
			text, err := f.read(name)
			same := bytes.Equal(text, f.known[name].Value)
			f.mu.Unlock()
			if err == nil && !same {
				err = f.reconcile(ctx, name)
			}
			failed = errors.Join(failed, err)
		}
		if ctx.Err() == nil && failed != nil && told != failed.Error() {
			f.log.Warn("a change of the keys that the servers share is not told to the others yet; trying again", "error", failed)
		}
		if told = ""; failed != nil {
			told = failed.Error()
		}
	}
}

// reconcile brings one file and its record together, whichever was changed since they were the same.
func (f *sharedFiles) reconcile(ctx context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		theirs, err := f.store.Get(ctx, records.FileKey(name))
		if err != nil {
			return err
		}
		base := f.known[name]
		ours, err := f.read(name)
		if err != nil || bytes.Equal(ours, base.Value) || bytes.Equal(ours, theirs.Value) {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err // what makes no sense here is told to nobody, nor overwritten
			}
			return f.write(name, theirs)
		}
		merged := ours
		if theirs.Revision != base.Revision {
			if merged, err = f.merge(name, base.Value, ours, theirs.Value); err != nil {
				return err
			}
		}
		revision, err := f.store.Commit(ctx, store.Change{Key: theirs.Key, Value: merged, If: theirs.Revision})
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		theirs.Value, theirs.Revision = merged, revision
		return f.write(name, theirs)
	}
}

// merge is what a file becomes that was changed at two places: of the access keys each place's changes, of all else
// what the store has.
func (f *sharedFiles) merge(name string, base, ours, theirs []byte) ([]byte, error) {
	if name != CredentialsFile {
		f.log.Error("a file that the servers share was changed at two places at once; what was changed here is lost", "file", name)
		return theirs, nil
	}
	return accesskeys.Merge(base, ours, theirs)
}
