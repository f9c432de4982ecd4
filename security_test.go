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
const attacks = 115

// TestAttackList holds the list of attacks in docs/SECURITY.md against the source: every number is
// there once, and each has a test that exists or a sentence why not.
func TestAttackList(t *testing.T) {
	doc, err := os.ReadFile("docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`^\| (\d+) \| (.+?) \| (.*) \|$`)
	named := regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Fuzz|Benchmark|Run)[A-Za-z0-9_]*)`")
	story := regexp.MustCompile("story `([^`]+)`")
	sources := make(map[string]string)
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
		tests := named.FindAllStringSubmatch(cells[3], -1)
		stories := story.FindAllStringSubmatch(cells[3], -1)
		if len(tests)+len(stories) == 0 && !strings.Contains(cells[3], " ") && !(next > 101 && cells[3] == "open") {
			t.Errorf("line %s has neither a test nor a sentence: %q", cells[1], cells[3])
		}
		for _, name := range tests {
			if _, ok := sources[name[1]]; !ok {
				sources[name[1]] = sourceOf(t, name[1])
			}
			if !strings.Contains(sources[name[1]], "\nfunc "+name[2]+"(") {
				t.Errorf("line %s: there is no %s in %s", cells[1], name[2], name[1])
			}
		}
		for _, name := range stories {
			if _, err := os.Stat("cmd/openimds/testdata/script/" + name[1] + ".txtar"); err != nil {
				t.Errorf("line %s: %v", cells[1], err)
			}
		}
	}
	if next != attacks+1 {
		t.Errorf("the list ends before line %d of %d", next, attacks)
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
