package usage

import (
	"net/netip"
	"testing"
	"time"

	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage/history"
)

// A caller that comes without a token again is stored with the next flush, not when its record's turn comes.
func TestV1IsStoredSoon(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	kept := mem.New()
	begin := func() *Meter {
		clock := func() time.Time { return now }
		return NewMeter(Config{Store: kept, Now: clock, History: history.New(history.Config{Store: kept, Now: clock})})
	}
	r := begin()
	for _, call := range []struct {
		kind  Call
		after time.Duration
	}{{WithToken, 0}, {NoToken, 3 * time.Minute}, {NoToken, 4 * time.Minute}} {
		now = now.Add(call.after)
		r.Guest("i-1", "web-1").Count(call.kind, netip.MustParseAddr("10.0.0.7"), []byte("latest/user-data"), nil, now)
		if err := r.flush(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		callers, err := begin().Callers(t.Context(), "i-1", time.Time{})
		if err != nil || len(callers) != 1 || call.kind == NoToken && !callers[0].LastV1.Equal(now) {
			t.Errorf("after a call at %s: %+v, %v", now, callers, err)
		}
	}
}
