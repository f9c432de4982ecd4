//go:build unix

package audit

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// What is read of a resource is what happened to it, and since when that is all.
func TestChanges(t *testing.T) {
	path := place(t)
	l, _ := open(t, Config{Path: path})
	if found, since, err := l.Changes(t.Context(), "Instance/web"); err != nil || len(found) > 0 || !since.IsZero() {
		t.Errorf("of an empty log: %+v, %v, %v", found, since, err)
	}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	of := func(what, resource string) openimds.AuditEntry {
		at = at.Add(time.Second)
		e := entry(what)
		e.When, e.Resource = at, resource
		return e
	}
	other, made, failed := of("first", "Instance/web-2"), of("made", "Instance/web"), of("failed", "Instance/web")
	refused := of("refused", "Instance/web")
	refused.Change, refused.Failure = "", "may not"
	for _, e := range []openimds.AuditEntry{other, made, failed, refused, failed.Failed(at, "not made"), of("again", "Instance/web"), of("like it", "Instance/webx")} {
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	var words []string
	found, since, err := l.Changes(t.Context(), "Instance/web")
	for _, e := range found {
		words = append(words, e.What)
	}
	if err != nil || strings.Join(words, " ") != "made again" || !since.Equal(other.When) {
		t.Errorf("found %q since %v, %v", words, since, err)
	}
	// What was rotated away is not known, and a line that is no entry hinders nothing.
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("Instance/web torn\n\"Instance/web\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	last := of("later", "Instance/web")
	if err := l.Record(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if found, since, err := l.Changes(t.Context(), "Instance/web"); err != nil || len(found) != 1 || !since.Equal(last.When) {
		t.Errorf("after a rotation: %+v since %v, %v", found, since, err)
	}
}
