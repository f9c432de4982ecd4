package usage

import (
	"net/netip"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
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
	}{{WithToken, 0}, {NoToken, 3 * time.Minute}, {NoToken, 4 * time.Minute}, {WithToken, 5 * time.Minute}, {NoToken, time.Minute}} {
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

// A call without a token that comes while the callers are stored is news for the next flush.
func TestV1WhileStored(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	g := NewMeter(Config{Store: mem.New()}).Guest("i-1", "web-1")
	count := func(kind Call) {
		g.Count(kind, netip.MustParseAddr("10.0.0.7"), []byte("latest/user-data"), nil, now)
	}
	count(WithToken)
	g.mu.Lock()
	write := g.draftCallers(now)
	g.mu.Unlock()
	count(NoToken)
	write.Done(1)
	if !g.callers.due(now, false) {
		t.Error("the call waits for the record's turn")
	}
	g.mu.Lock()
	write = g.draftCallers(now)
	g.mu.Unlock()
	write.Done(2)
	if g.callers.due(now, false) {
		t.Error("what is stored is due")
	}
}

// Of stored callers that there is no room for any more, no call is left out of what was called since a time:
// it is known exactly only as of the latest time that it is of one of them.
func TestOverflowLeavesNothingOut(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	kept := mem.New()
	r := NewMeter(Config{Store: kept, Now: func() time.Time { return now }})
	ago := func(d time.Duration) int64 { return now.Add(-d).UnixNano() }
	var records []callerRecord
	remember := func(host int, first, last, from int64) {
		records = append(records, callerRecord{
			callerKey: callerKey{Source: netip.AddrFrom4([4]byte{10, 0, byte(host >> 8), byte(host)})},
			Counts:    map[string]uint64{openimds.MetricWithToken: 7}, First: first, Last: last, from: from,
		})
	}
	for i := range maxCallers {
		remember(i, ago(0), ago(0), sampleOf(ago(9*time.Hour)))
	}
	for i, from := range []time.Duration{2 * time.Hour, time.Hour, 8 * time.Hour} { // as of when its windows have all
		remember(maxCallers+i, ago(9*time.Hour), ago(time.Hour), sampleOf(ago(from))+1)
	}
	if _, err := kept.Commit(t.Context(), store.Change{Key: callersKeys("i-1") + "local", Value: packCallers(records)}); err != nil {
		t.Fatal(err)
	}
	r.Guest("i-1", "web-1")
	callers, err := r.Callers(t.Context(), "i-1", now.Add(-90*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	sum, others := int64(0), false
	for _, c := range callers {
		sum += c.Counts[openimds.MetricWithToken]
		others = others || c.Source == Others
	}
	if want := int64(7 * len(records)); sum != want || !others {
		t.Errorf("%d calls of %d callers, others among them: %v; want %d calls", sum, len(callers), others, want)
	}
}
