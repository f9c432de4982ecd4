package usage

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/periods"
)

// What another host says that it has counted is kept only if a host counts so: neither more nor larger, and at no time
// that has not come.
func TestForeignCallers(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	good := func() callerRecord {
		return callerRecord{
			callerKey: callerKey{Source: netip.MustParseAddr("10.0.0.1"), Agent: "curl/8", Group: "api/token"},
			Counts:    map[string]uint64{countNames[0]: 1},
			First:     now.Add(-time.Hour).UnixNano(), Last: now.UnixNano(), from: sampleOf(now.UnixNano()),
		}
	}
	most := func(n int) (all []callerRecord) {
		for i := range n {
			r := good()
			r.Source = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			all = append(all, r)
		}
		return all
	}
	one := func(change func(*callerRecord)) []byte {
		r := good()
		change(&r)
		return packCallers([]callerRecord{r})
	}
	late := now.Add(48 * time.Hour)
	others := callerRecord{callerKey: callerKey{Others: true}, First: now.UnixNano(), Last: now.UnixNano()}
	for what, c := range map[string]struct {
		value []byte
		kept  bool
	}{
		"one":                  {one(func(*callerRecord) {}), true},
		"as many as there are": {packCallers(append(most(maxCallers), others)), true},
		"a clock that is fast": {one(func(r *callerRecord) { r.Last = now.Add(time.Hour).UnixNano() }), true},
		"one more":             {packCallers(most(maxCallers + 2)), false},
		"empty":                {nil, false},
		"the earliest form":    {[]byte(`{"schema":2,"callers":[]}`), false},
		"a later form":         {[]byte{callersFormat + 1}, false},
		"a long agent":         {one(func(r *callerRecord) { r.Agent = strings.Repeat("x", MaxUserAgent+1) }), false},
		"a long group":         {one(func(r *callerRecord) { r.Group = strings.Repeat("x", maxForeignGroup+1) }), false},
		"a long process": {one(func(r *callerRecord) {
			r.Process = fmt.Sprintf("{\"program\":%q}", strings.Repeat("x", maxProcessBytes))
		}), false},
		"no process":      {one(func(r *callerRecord) { r.Process = "x" }), false},
		"seen later":      {one(func(r *callerRecord) { r.Last = late.UnixNano() }), false},
		"without a token": {one(func(r *callerRecord) { r.FirstV1, r.LastV1 = late.UnixNano(), late.UnixNano() }), false},
		"through a proxy": {one(func(r *callerRecord) { r.forwarded = late.UnixNano() }), false},
		"a lost token":    {one(func(r *callerRecord) { r.Lost = &undelivered{At: late.UnixNano()} }), false},
		"a visit":         {one(func(r *callerRecord) { r.times = periods.Of([]int64{late.UnixMilli()}, nil) }), false},
		"windows from":    {one(func(r *callerRecord) { r.from = sampleOf(late.UnixNano()) }), false},
		"a window":        {one(func(r *callerRecord) { r.windows = []window{{start: sampleOf(late.UnixNano())}} }), false},
		"the end of time": {one(func(r *callerRecord) { r.Last = math.MaxInt64 }), false},
		"many words":      {append([]byte{callersFormat, 0, 0xff, 0xff, 1}, make([]byte, 32<<10)...), false},
		"too large":       {append(one(func(*callerRecord) {}), make([]byte, maxForeign)...), false},
	} {
		id, host, _, err := ForeignCallers(CallersKey("i-1", "host-a"), c.value, now)
		if (err == nil) != c.kept || err == nil && (id != "i-1" || host != "host-a") {
			t.Errorf("%s: %q of %q, %v", what, id, host, err)
		}
	}
}
