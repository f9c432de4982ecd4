//go:build unix

package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func text(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// only fails the test unless the directory has just these names.
func only(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the directory has %q, want %q", got, want)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, Write(path, []byte("one"), 0o600))
	must(t, Write(path, []byte("two"), 0o640))
	info, err := os.Stat(path)
	must(t, err)
	if text(t, path) != "two" || info.Mode() != 0o640 {
		t.Errorf("%q with mode %v", text(t, path), info.Mode())
	}
	only(t, dir, "f")
	long := filepath.Join(dir, strings.Repeat("x", 250))
	must(t, Write(long, []byte("long"), 0o600))
	must(t, os.Remove(long))
	if err := Write(filepath.Join(dir, "no", "f"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no/f") || strings.Contains(err.Error(), ".new-") {
		t.Errorf("into a directory that is not there: %v", err)
	}
}

// TestNothingIsFollowed plants links wherever a file is written or read, to one that must stay as it is.
func TestNothingIsFollowed(t *testing.T) {
	dir := t.TempDir()
	victim, link, dangling := filepath.Join(dir, "victim"), filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	must(t, os.WriteFile(victim, []byte("whole"), 0o600))
	must(t, os.Symlink(victim, link))
	must(t, os.Symlink(filepath.Join(dir, "made"), dangling))
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	for _, name := range []string{"link", "dangling", "pipe", "sub"} {
		path := filepath.Join(dir, name)
		for what, do := range map[string]func() error{
			"Write": func() error { return Write(path, []byte("x"), 0o600) },
			"Clear": func() error { return Clear(path) },
			"Open for appending": func() error {
				_, err := Open(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
				return err
			},
			"ReadPrivate": func() error { _, _, err := ReadPrivate(path, 100); return err },
		} {
			if err := do(); !errors.Is(err, ErrNotFile) {
				t.Errorf("%s of %s: %v", what, name, err)
			}
		}
	}
	// A link that comes while the file is in the making.
	late := filepath.Join(dir, "late")
	for _, place := range []func(*File) error{(*File).Place, (*File).PlaceNew} {
		f, err := Create(late, 0o600)
		must(t, err)
		must(t, os.Symlink(victim, late))
		if err := place(f); err == nil {
			t.Error("a link that came late was replaced")
		}
		must(t, os.Remove(late))
	}
	if text(t, victim) != "whole" {
		t.Errorf("the link's target has become %q", text(t, victim))
	}
	only(t, dir, "dangling", "link", "pipe", "sub", "victim")
}

func TestPlaceNew(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	for i, want := range []error{nil, fs.ErrExist} {
		f, err := Create(path, 0o600)
		must(t, err)
		_, err = f.WriteString(string(rune('a' + i)))
		must(t, err)
		if err := f.PlaceNew(); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	if text(t, path) != "a" {
		t.Errorf("the first file was replaced by %q", text(t, path))
	}
	only(t, dir, "f")
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "f"), 0o600)
	must(t, err)
	must(t, f.Close())
	must(t, os.WriteFile(filepath.Join(dir, ".f.new-mine"), nil, 0o600))
	Sweep(filepath.Join(dir, "f"))
	only(t, dir, ".f.new-mine")
}

func TestDirectory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can give directories away")
	}
	base := t.TempDir()
	above := filepath.Join(base, "above")
	dir := filepath.Join(above, "data")
	must(t, os.MkdirAll(dir, 0o700))
	for _, tt := range []struct {
		name               string
		above, data        fs.FileMode
		ownAbove, ownsData int
		want               string // in the error; empty: it is fine
	}{
		{"private", 0o700, 0o700, 0, 0, ""},
		{"readable", 0o755, 0o755, 0, 0, ""},
		{"below /tmp", 0o777 | fs.ModeSticky, 0o700, 0, 0, ""},
		{"0777", 0o755, 0o777, 0, 0, "others can write to " + dir + " (mode 0777): run chmod go-w " + dir},
		{"group", 0o755, 0o770, 0, 0, "(mode 0770)"},
		{"0777 and sticky", 0o755, 0o777 | fs.ModeSticky, 0, 0, "others can write to"},
		{"another's", 0o755, 0o700, 0, 65534, dir + " belongs to user 65534"},
		{"in another's", 0o755, 0o700, 65534, 0, above + " belongs to user 65534"},
		{"in another's sticky one", 0o777 | fs.ModeSticky, 0o700, 65534, 0, above + " belongs to user 65534"},
		{"below 0777", 0o777, 0o700, 0, 0, "others can write to " + above + " "},
	} {
		must(t, os.Chmod(above, tt.above))
		must(t, os.Chmod(dir, tt.data))
		must(t, os.Chown(above, tt.ownAbove, 0))
		must(t, os.Chown(dir, tt.ownsData, 0))
		_, err := Directory(dir)
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if perr := PlainDirectory(dir); (perr == nil) != (err == nil) {
			t.Errorf("%s: %v, then %v", tt.name, err, perr)
		}
	}
	must(t, os.Chmod(above, 0o755))
	link := filepath.Join(base, "link")
	must(t, os.Symlink(dir, link))
	if real, err := Directory(link); err != nil || real != dir {
		t.Errorf("a link to a safe directory: %s, %v", real, err)
	}
	if err := PlainDirectory(link); !errors.Is(err, ErrNotFile) {
		t.Errorf("a link as a plain directory: %v", err)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("0123456789"), 0o600))
	if b, _, err := ReadPrivate(path, 10); err != nil || len(b) != 10 {
		t.Errorf("%q, %v", b, err)
	}
	if _, _, err := ReadPrivate(path, 9); err == nil {
		t.Error("a file above the limit was read")
	}
	must(t, os.Chmod(path, 0o644))
	if _, _, err := ReadPrivate(path, 10); err == nil || !strings.Contains(err.Error(), "is open to others (mode 0644): run chmod 600") {
		t.Errorf("open to all: %v", err)
	}
	if _, _, err := Read(path, 10); err != nil {
		t.Errorf("readable by all: %v", err)
	}
	must(t, os.Chmod(path, 0o622))
	if _, _, err := Read(path, 10); err == nil {
		t.Error("a file that all can write was read")
	}
	if os.Geteuid() != 0 {
		return
	}
	must(t, os.Chmod(path, 0o600))
	must(t, os.Chown(path, 65534, 65534))
	if _, _, err := ReadPrivate(path, 10); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
		t.Errorf("another's file: %v", err)
	}
	must(t, os.Chown(dir, 65534, 65534))
	if _, _, err := ReadPrivate(path, 10); err != nil {
		t.Errorf("root, in another's directory: %v", err)
	}
}
