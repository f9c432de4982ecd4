package history

import (
	"testing"

	"github.com/openimds/openimds"
)

// A metric more needs another format of records: the earlier ones have no place for it.
func TestFormatHasAllMetrics(t *testing.T) {
	if n := len(openimds.Metrics()); n != metricCount || formatMetrics[wholeFormat] != n || formatMetrics[cellsFormat] != n+1 {
		t.Errorf("there are %d metrics, a record has %d, its format %d", n, metricCount, formatMetrics[cellsFormat])
	}
}
