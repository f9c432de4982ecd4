package usage

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestRefusalsAreExplained: whoever runs a server finds each reason in OPERATIONS.md, with the status that guests see.
func TestRefusalsAreExplained(t *testing.T) {
	text, err := os.ReadFile("../docs/OPERATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for why := NotRefused + 1; why < refusalCount; why++ {
		status := "closed"
		if why.Status() != 0 {
			status = strconv.Itoa(why.Status())
		}
		found := false
		for line := range strings.Lines(string(text)) {
			cells := strings.Split(line, "|")
			found = found || len(cells) > 3 && strings.Contains(cells[1], status) && strings.Contains(cells[2], "`"+why.String()+"`")
		}
		if !found || why.String() == "" || names[why.String()] {
			t.Errorf("the reason %q (%s) is not explained, or another one is called so", why, status)
		}
		names[why.String()] = true
	}
}
