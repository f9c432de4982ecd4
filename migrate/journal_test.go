package migrate

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
)

func record(of string) Record {
	return Record{Kind: Skipped, Wave: "w", Instance: &Ref{"r", of, "arn:" + of}, Reason: "because \u00e9 <x>"}
}

func written(t *testing.T, n int) (path string, text []byte) {
	t.Helper()
	path = journalIn(t)
	j, err := OpenJournal(path, true, "tester")
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		if _, err := j.Add(record("web")); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, text
}

// Whatever of the last line is there, it is cut off and the lines before it are read; a line that is missing, changed
// or moved is found out.
func TestJournalDamage(t *testing.T) {
	path, text := written(t, 3)
	if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	two := len(lines[0]) + len(lines[1])
	for cut := two; cut < len(text); cut++ {
		if err := os.WriteFile(path, text[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := OpenJournal(path, false, "tester")
		if err != nil || len(j.Records()) != 2 || j.Torn != (cut > two) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if _, err := j.Add(record("again")); err != nil {
			t.Fatal(err)
		}
		_ = j.Close()
		if all, err := ReadJournal(path); err != nil || len(all) != 3 || all[2].Instance.Name != "again" {
			t.Fatalf("cut at %d, written again: %v", cut, err)
		}
	}
	for what, damaged := range map[string][]byte{
		"without the first": bytes.Join(lines[1:], nil), "without the second": append(bytes.Clone(lines[0]), lines[2]...),
		"changed": bytes.Replace(text, []byte("because"), []byte("becauze"), 1), "twice": append(bytes.Clone(text), lines[2]...),
		"with an end": append(bytes.Clone(text), '\n'), "moved": bytes.Join([][]byte{lines[1], lines[0], lines[2]}, nil),
	} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenJournal(path, false, "tester"); err == nil || !strings.Contains(err.Error(), "is not what was written") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Two operators cannot have one journal.
func TestJournalIsOnes(t *testing.T) {
	path, _ := written(t, 1)
	first, err := OpenJournal(path, false, "one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenJournal(path, true, "two"); !errors.Is(err, ErrLocked) {
		t.Errorf("a second: %v", err)
	}
	if all, err := ReadJournal(path); err != nil || len(all) != 1 {
		t.Errorf("a reader: %v", err)
	}
	_ = first.Close()
	if second, err := OpenJournal(path, true, "two"); err != nil {
		t.Errorf("after the first: %v", err)
	} else {
		_ = second.Close()
	}
}
