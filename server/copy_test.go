package server

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
)

// A copy that was interrupted is served by nobody, whatever has come over; the next one makes it whole.
func TestCopyInterrupted(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "to")
	first := openInstallation(t, forTest(from))
	id := first.server.Instance().ID
	first.stop()
	half, err := bolt.Open(mustDir(t, to))
	must(t, err)
	var changes []store.Change
	for i := range 50 {
		changes = append(changes, store.Change{Key: fmt.Sprint("instance/", i), Value: []byte("half"), If: store.IfAbsent})
	}
	_, err = half.Commit(t.Context(), append(changes, store.Change{Key: records.CopyingKey, Value: []byte(from), If: store.IfAbsent})...)
	must(t, err)
	must(t, half.Close())
	if _, err := Open(t.Context(), forTest(to)); err == nil || !strings.Contains(err.Error(), "has a part of "+from+" only") {
		t.Fatalf("a server starts on half a copy: %v", err)
	}
	if _, err := CopyStore(t.Context(), to, filepath.Join(t.TempDir(), "third"), Defaults()); err == nil || !strings.Contains(err.Error(), "only") {
		t.Errorf("half a copy is copied: %v", err)
	}
	done, err := CopyStore(t.Context(), from, to, Defaults())
	must(t, err)
	if done.Records == 0 || done.Files != 5 {
		t.Errorf("copied %+v", done)
	}
	if again := openInstallation(t, forTest(to)); again.server.Instance().ID != id {
		t.Errorf("the instance is %s, was %s", again.server.Instance().ID, id)
	}
	if _, err := CopyStore(t.Context(), from, to, Defaults()); err == nil {
		t.Error("what is there was overwritten")
	}
}

func mustDir(t *testing.T, dir string) string {
	t.Helper()
	must(t, makeDirectoryOf(filepath.Join(dir, StoreFile)))
	return filepath.Join(dir, StoreFile)
}
