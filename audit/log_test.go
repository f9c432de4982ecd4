//go:build unix

package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/openimds/openimds"
)

// place is where a test has its log.
func place(t *testing.T) string { return filepath.Join(t.TempDir(), "audit.log") }

func open(t *testing.T, cfg Config) (*Log, []openimds.AuditEntry) {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	l, latest, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, latest
}

// read returns the lines of a file, each of which must be whole.
func read(t *testing.T, path string) []openimds.AuditEntry {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		t.Errorf("the log ends within a line: %q", text[max(0, len(text)-80):])
	}
	var all []openimds.AuditEntry
	for line := range bytes.Lines(text) {
		var e openimds.AuditEntry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Errorf("%v: %q", err, line)
		}
		all = append(all, e)
	}
	return all
}

func entry(what string) openimds.AuditEntry {
	return openimds.AuditEntry{When: time.Now(), Who: "me", What: what, Change: "change-" + what}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecord(t *testing.T) {
	path := place(t)
	l, _ := open(t, Config{Path: path})
	var writing sync.WaitGroup
	for n := range 300 {
		writing.Go(func() {
			if err := l.Record(t.Context(), entry(fmt.Sprint(n)), entry(fmt.Sprint(n, "b"))); err != nil {
				t.Error(err)
			}
		})
	}
	writing.Wait()
	all := read(t, path)
	if len(all) != 600 {
		t.Fatalf("%d lines", len(all))
	}
	for i := 0; i < 600; i += 2 {
		if all[i].What+"b" != strings.ReplaceAll(all[i+1].What, " ", "") {
			t.Errorf("entries of one change are apart: %s, %s", all[i].What, all[i+1].What)
		}
	}
	must(t, l.Close())
	if err := l.Record(t.Context(), entry("late")); err == nil {
		t.Error("a closed log took an entry")
	}
}

// TestTorn: a line that a crash has cut off, or zeros that a power cut has left, swallow no other.
func TestTorn(t *testing.T) {
	for _, torn := range []string{`{"when":"2026-`, "\x00\x00\x00", "}"} {
		path := place(t)
		line, err := Line(entry("first"))
		must(t, err)
		must(t, os.WriteFile(path, append(line, torn...), 0o600))
		l, latest := open(t, Config{Path: path})
		if len(latest) != 1 || latest[0].What != "first" {
			t.Errorf("the latest entries are %+v", latest)
		}
		must(t, l.Record(t.Context(), entry("second")))
		text, err := os.ReadFile(path)
		must(t, err)
		lines := strings.Split(string(text), "\n")
		if len(lines) != 4 || lines[1] != torn || !strings.Contains(lines[2], `"second"`) || lines[3] != "" {
			t.Errorf("behind %q the log is %q", torn, lines)
		}
	}
}

// TestRotated: the file is renamed, removed, cut off, exchanged; each next line is under the name.
func TestRotated(t *testing.T) {
	path := place(t)
	l, _ := open(t, Config{Path: path})
	for name, rotate := range map[string]func() error{
		"renamed":             func() error { return os.Rename(path, path+".1") },
		"removed":             func() error { return os.Remove(path) },
		"cut off":             func() error { return os.Truncate(path, 0) },
		"renamed and created": func() error { return errors.Join(os.Rename(path, path+".1"), os.WriteFile(path, nil, 0o600)) },
	} {
		must(t, l.Record(t.Context(), entry("before")))
		must(t, rotate())
		must(t, l.Record(t.Context(), entry(name)))
		all := read(t, path)
		if len(all) != 1 || all[0].What != name {
			t.Errorf("%s: the file has %+v", name, all)
		}
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v", name, info.Mode())
		}
	}
}

// TestNoLineNoWord: where no line can be written, Record says so, and says so to who looks later.
func TestNoLineNoWord(t *testing.T) {
	path := place(t)
	victim := filepath.Join(filepath.Dir(path), "victim")
	must(t, os.WriteFile(victim, []byte("whole"), 0o600))
	for name, spoil := range map[string]func() error{
		"a link":      func() error { return os.Symlink(victim, path) },
		"a directory": func() error { return os.Mkdir(path, 0o700) },
		"a pipe":      func() error { return syscall.Mkfifo(path, 0o600) },
		"open":        func() error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, 0o666)) },
	} {
		l, _ := open(t, Config{Path: path})
		must(t, l.Record(t.Context(), entry("before")))
		must(t, os.Remove(path))
		must(t, spoil())
		if err := l.Record(t.Context(), entry("lost")); err == nil {
			t.Errorf("%s in the log's place took a line", name)
		}
		if l.Check(t.Context()) == nil {
			t.Errorf("%s in the log's place: all is well", name)
		}
		must(t, os.RemoveAll(path))
		if err := l.Check(t.Context()); err != nil {
			t.Errorf("%s is gone: %v", name, err)
		}
		must(t, l.Record(t.Context(), entry("after")))
		if all := read(t, path); len(all) != 2 || all[0].What != "AuditLog" || !strings.HasPrefix(all[0].Failure, "1 lines could not be written since ") || all[1].What != "after" {
			t.Errorf("%s: the log is %+v", name, all)
		}
		must(t, l.Close())
		must(t, os.RemoveAll(path))
	}
	if text, _ := os.ReadFile(victim); string(text) != "whole" {
		t.Errorf("the link's target is %q", text)
	}
}

// disk is a file on a disk that fails in a way of its own.
type disk struct {
	handle
	room     int // bytes that can still be written; negative: any number
	sync     error
	truncate error
	wait     chan struct{} // each sync waits for it; nil: none does
	waits    func()        // called by each sync that waits
}

func (d *disk) Write(p []byte) (int, error) {
	if d.room < 0 || len(p) <= d.room {
		return d.handle.Write(p)
	}
	n, _ := d.handle.Write(p[:d.room])
	return n, syscall.ENOSPC
}

func (d *disk) Sync() error {
	if d.wait != nil {
		d.waits()
		<-d.wait
	}
	return errors.Join(d.sync, d.handle.Sync())
}

func (d *disk) Truncate(size int64) error { return errors.Join(d.truncate, d.handle.Truncate(size)) }

// on puts the log on a disk, before anything is written.
func on(l *Log, d *disk) *disk {
	d.handle = l.file.f
	l.file.f = d
	return d
}

// TestDiskFails: half a line, a failed wait for the disk, and a file that cannot even be cut off again.
// No line is half there, and what may be there though it was given up is taken back.
func TestDiskFails(t *testing.T) {
	for name, d := range map[string]*disk{
		"full":           {room: 40},
		"no sync":        {room: -1, sync: syscall.EIO},
		"full and stuck": {room: 40, truncate: syscall.EIO},
		"broken":         {room: -1, sync: syscall.EIO, truncate: syscall.EIO},
	} {
		path := place(t)
		l, _ := open(t, Config{Path: path})
		must(t, l.Record(t.Context(), entry("first")))
		on(l, d)
		for range 2 {
			if err := l.Record(t.Context(), entry("lost")); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: %v", name, err)
			}
		}
		d.room, d.sync, d.truncate = -1, nil, nil
		must(t, l.Record(t.Context(), entry("after")))
		text, err := os.ReadFile(path)
		must(t, err)
		told, takenBack, after := 0, 0, false
		for line := range bytes.Lines(text) {
			var e openimds.AuditEntry
			if json.Unmarshal(line, &e) != nil {
				continue // the half of a line
			}
			switch {
			case e.What == "lost" && e.Failure == "":
				told++
			case e.What == "lost" && e.Failure == "not made: the audit log could not be written":
				takenBack++
			}
			after = after || e.What == "after"
		}
		if !after || told > takenBack || d.handle == nil {
			t.Errorf("%s: told %d, taken back %d:\n%s", name, told, takenBack, text)
		}
	}
}

// TestAbandoned: a request that ends while the disk hangs is not carried out; its line, if it comes to
// be, is taken back.
func TestAbandoned(t *testing.T) {
	path := place(t)
	l, _ := open(t, Config{Path: path})
	first, endFirst := context.WithCancel(t.Context())
	d := on(l, &disk{room: -1, wait: make(chan struct{}), waits: endFirst})
	if err := l.Record(first, entry("written")); !errors.Is(err, context.Canceled) {
		t.Errorf("written: %v", err)
	}
	second, endSecond := context.WithCancel(t.Context())
	go func() {
		for len(l.requests) == 0 {
			time.Sleep(time.Millisecond)
		}
		endSecond()
	}()
	if err := l.Record(second, entry("in the queue")); !errors.Is(err, context.Canceled) {
		t.Errorf("in the queue: %v", err)
	}
	close(d.wait)
	must(t, l.Record(t.Context(), entry("after")))
	must(t, l.Close())
	var got []string
	for _, e := range read(t, path) {
		got = append(got, e.What+" "+e.Failure)
	}
	want := []string{"written ", "written not made: the request ended before this line was on disk", "after "}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("the log is %q, want %q", got, want)
	}
}

// TestBestEffort: nobody waits and nobody is refused; the log says what it has not.
func TestBestEffort(t *testing.T) {
	path := place(t)
	l, _ := open(t, Config{Path: path, BestEffort: true})
	d := on(l, &disk{})
	for range 2 * groupSize {
		must(t, l.Record(t.Context(), entry("lost")))
	}
	must(t, l.Check(t.Context()))
	must(t, l.Close())
	if all := read(t, path); len(all) != 0 {
		t.Errorf("a full disk took %+v", all)
	}
	l, _ = open(t, Config{Path: path, BestEffort: true})
	on(l, d)
	must(t, l.Record(t.Context(), entry("lost")))
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		failed := l.failure != nil
		l.mu.Unlock()
		if failed {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the failure is not noted")
		}
	}
	d.room = -1
	must(t, l.Record(t.Context(), entry("after")))
	must(t, l.Close())
	if all := read(t, path); len(all) != 2 || !strings.Contains(all[0].Failure, "made all the same") {
		t.Errorf("the log is %+v", all)
	}
}

// TestLine: whatever stands in an entry, its line is one, of bounded length, and moves no cursor.
func TestLine(t *testing.T) {
	hostile := "a\x1b[2J\u009b31m\u202e\u2028\x7f\xff\n" + strings.Repeat("\u0001é", 5000)
	e := openimds.AuditEntry{
		Who: hostile, What: hostile, Resource: hostile, RequestID: hostile, Source: hostile, Change: hostile, Failure: hostile,
		Before: map[string]any{hostile[:20]: hostile, "raw": json.RawMessage(`"` + "\u009b" + strings.Repeat("x", 100_000) + `"`)},
		After:  map[string]any{},
	}
	for n := range 100 {
		e.After[fmt.Sprint(n)] = strings.Repeat("y", 5000)
	}
	line, err := Line(e)
	must(t, err)
	if len(line) > maxLine || !json.Valid(line) || bytes.Count(line, []byte{'\n'}) != 1 {
		t.Errorf("%d bytes, valid: %t", len(line), json.Valid(line))
	}
	for _, r := range string(line[:len(line)-1]) {
		if !unicode.IsPrint(r) {
			t.Fatalf("the line has %U", r)
		}
	}
	e = openimds.AuditEntry{Who: "me", After: map[string]any{"tags": []string{"a", "b"}}}
	if line, err = Line(e); err != nil || !strings.Contains(string(line), `"after":{"tags":["a","b"]}`) {
		t.Errorf("%s, %v", line, err)
	}
}

func TestRefusals(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var all []openimds.AuditEntry
	bytes := 0
	r := NewRefusals(func(_ context.Context, entries ...openimds.AuditEntry) error {
		for _, e := range entries {
			line, err := Line(e)
			if err != nil {
				return err
			}
			bytes += len(line)
		}
		all = append(all, entries...)
		return nil
	}, func() time.Time { return now })
	long := strings.Repeat("\u009b", 10_000)
	refuse := func(source string) {
		r.Tell(t.Context(), openimds.AuditEntry{Who: "unverified caller", Source: source, Failure: long}, "")
	}
	// A day of one address, then a minute of a million.
	for range 24 * 60 {
		for range 20 {
			refuse("192.0.2.1:1")
		}
		now = now.Add(time.Minute)
	}
	if most := sourceBytesAtOnce + 24*3600*sourceBytes; bytes > most || bytes < most/2 {
		t.Errorf("one address has %d bytes a day, want %d at most", bytes, most)
	}
	bytes, all = 0, nil
	for n := range 20_000 {
		refuse(fmt.Sprintf("[2001:db8:%x::%x]:1", n/5, n%5))
	}
	if bytes > allBytesAtOnce || bytes < allBytesAtOnce/2 {
		t.Errorf("a crowd has %d bytes, want %d at most", bytes, allBytesAtOnce)
	}
	lines := len(all)
	r.Flush()
	last := all[len(all)-1]
	if len(all) != lines+1 || last.What != "Refusals" || !strings.HasSuffix(last.Failure, "others were not written") || len(last.Failure) > 600 {
		t.Errorf("the crowd is told as %+v", last)
	}
	// Who has a key is told all the same.
	r.Tell(t.Context(), openimds.AuditEntry{Who: "AKID (ops)", Source: "192.0.2.1:1"}, "AKID")
	if all[len(all)-1].Who != "AKID (ops)" {
		t.Error("the owner of a key was hidden by the crowd")
	}
	r.Close()
}
