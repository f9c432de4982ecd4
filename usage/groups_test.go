package usage

import (
	"math"
	"testing"

	"github.com/openimds/openimds/metadata"
)

// A caller has room for any group, and what is left out of the table's is in the table.
func TestGroupsFit(t *testing.T) {
	if len(groupNames) > math.MaxUint8 {
		t.Errorf("%d groups", len(groupNames))
	}
	if want := 2 + len(metadata.Groups()) - len(ungrouped); len(groupNames) != want {
		t.Errorf("%d groups, not %d", len(groupNames), want)
	}
}
