package history

import (
	"slices"
	"time"

	"github.com/openimds/openimds"
)

const sampleSeconds = int64(openimds.MetricPeriod / time.Second)

// sampleNumber is the number of the sample that a moment belongs to, counted from the Unix epoch.
func sampleNumber(t time.Time) int64 { return floorDiv(t.Unix(), sampleSeconds) }

func floorDiv(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}

// floorTo is the last multiple of unit that is not after n.
func floorTo(n, unit int64) int64 { return floorDiv(n, unit) * unit }

// metricCount is how many metrics a record has; metricNames are they, in the order that records have them:
// another order would be another format.
const metricCount = 6

var metricNames = [metricCount]string(openimds.Metrics())

// broken is the place behind the metrics: not 0, if a process that counted in the sample was killed, so that there may
// have been more calls.
const broken = metricCount

// Counts are numbers of requests, by their metrics in the order of [openimds.Metrics]; the last says that there may have been more.
type Counts [metricCount + 1]uint64

// nothing says that not all is known and nothing was counted.
func (c *Counts) nothing() bool { return c[broken] > 0 && *c == Counts{broken: c[broken]} }

func (c *Counts) add(d Counts) {
	for m, n := range d {
		c[m] += n
	}
}

// take is the reverse of add.
func (c *Counts) take(d Counts) {
	for m, n := range d {
		c[m] -= n
	}
}

const noMetric = -1

// metricOf is the place of a metric in counts; [noMetric] is one that is not counted.
func metricOf(name string) int { return slices.Index(metricNames[:], name) }
