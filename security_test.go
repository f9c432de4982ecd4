package openimds_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// attacks is how many lines the list of attacks has.
const attacks = 146

// TestAttackList holds the list of attacks in docs/SECURITY.md against the source: every number is
// there once, and each has a test that exists or a sentence why not.
func TestAttackList(t *testing.T) {
	doc, err := os.ReadFile("docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`^\| (\d+) \| (.+?) \| (.*) \|$`)
	next := 1
	for line := range strings.Lines(string(doc)) {
		cells := row.FindStringSubmatch(strings.TrimSpace(line))
		if cells == nil {
			continue
		}
		if number, err := strconv.Atoi(cells[1]); err != nil || number != next {
			t.Fatalf("line %s stands where %d should", cells[1], next)
		}
		next++
		if !strings.Contains(cells[3], "`") && !strings.Contains(cells[3], " ") {
			t.Errorf("line %s has neither a test nor a sentence: %q", cells[1], cells[3])
		}
		for part := range strings.SplitSeq(cells[3], ";") {
			checkNames(t, cells[1], part)
		}
	}
	if next != attacks+1 {
		t.Errorf("the list ends before line %d of %d", next, attacks)
	}
}

var (
	quoted   = regexp.MustCompile("(stor(?:y|ies))? ?`([^`]+)`")
	testName = regexp.MustCompile(`^(?:([a-z0-9/]+)\.)?((?:Test|Fuzz|Benchmark|Run)[A-Za-z0-9_]*)$`)
)

// checkNames looks for what a part of a line names: tests, with their package or of the package named
// before, and stories.
func checkNames(t *testing.T, line, part string) {
	t.Helper()
	of, stories := "", false
	for _, name := range quoted.FindAllStringSubmatch(part, -1) {
		stories = stories || name[1] != ""
		test := testName.FindStringSubmatch(name[2])
		switch info, err := os.Stat(name[2]); {
		case test != nil:
			stories = false
			if test[1] != "" {
				of = test[1]
			}
			if !strings.Contains(sourceOf(t, of), "\nfunc "+test[2]+"(") {
				t.Errorf("line %s: there is no %s in %q", line, test[2], of)
			}
		case stories:
			if _, err := os.Stat("cmd/openimds/testdata/script/" + name[2] + ".txtar"); err != nil {
				t.Errorf("line %s: %v", line, err)
			}
		case name[2] == "openimds", err == nil && info.IsDir():
			of = name[2]
		}
	}
}

// sourceOf is the text of a package's Go files, tests of every system among them.
func sourceOf(t *testing.T, directory string) string {
	t.Helper()
	if directory == "openimds" {
		directory = "."
	}
	files, err := filepath.Glob(directory + "/*.go")
	if err != nil || len(files) == 0 {
		t.Errorf("no source in %s: %v", directory, err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
