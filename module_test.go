package openimds_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestModuleCanBeInstalled: 'go install …/cmd/openimds@latest' takes this module as it is, so nothing may stand in the
// way that only a checkout gets over: another module in a needed one's place, or a file that no module's archive can
// have (golang.org/x/mod/module, CheckFilePath).
func TestModuleCanBeInstalled(t *testing.T) {
	if got := regexp.MustCompile(`(?m)^\s*(replace|exclude)\b.*`).FindString(string(read(t, "go.mod"))); got != "" {
		t.Errorf("go.mod has %q, with which nobody can install the program by its path", got)
	}
	out, err := exec.Command("git", "ls-files").Output()
	if err != nil {
		t.Skipf("skipped: this is no checkout of git (%v)", err)
	}
	for name := range strings.Lines(string(out)) {
		if name = strings.TrimSpace(name); strings.ContainsAny(name, "\"'*<>?`|\\:") || strings.HasSuffix(name, ".") {
			t.Errorf("the file %s cannot be in a module's archive", name)
		}
	}
}
