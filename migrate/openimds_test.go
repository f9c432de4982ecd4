package migrate

import (
	"testing"
	"time"

	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// Who came regularly without a token, and not since, is due until it has missed its time by half of it.
func TestDue(t *testing.T) {
	since := noon.Add(-14 * aDay)
	for name, c := range map[string]struct {
		last, seen time.Time
		seconds    int
		want       bool
	}{
		"monthly":              {noon.Add(-20 * aDay), noon.Add(-20 * aDay), 30 * 86400, true},
		"monthly, long ago":    {noon.Add(-46 * aDay), noon.Add(-46 * aDay), 30 * 86400, false},
		"weekly, not again":    {noon.Add(-15 * aDay), noon.Add(-15 * aDay), 7 * 86400, false},
		"in the window":        {noon.Add(-aDay), noon.Add(-aDay), 30 * 86400, false},
		"with a token since":   {noon.Add(-20 * aDay), noon.Add(-aDay), 30 * 86400, false},
		"once":                 {noon.Add(-20 * aDay), noon.Add(-20 * aDay), 0, false},
		"never without one":    {time.Time{}, noon.Add(-20 * aDay), 30 * 86400, false},
		"both calls at a time": {noon.Add(-20 * aDay), noon.Add(-20*aDay + time.Second), 30 * 86400, true},
	} {
		caller := wire.MetadataCaller{LastSeen: awsjson.Epoch{Time: c.seen}, Period: wire.CallerPeriod{Seconds: c.seconds}}
		if !c.last.IsZero() {
			caller.LastWithoutToken = awsjson.At(c.last)
		}
		if got := isDue(caller, since, noon); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
