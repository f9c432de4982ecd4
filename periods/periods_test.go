package periods_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/openimds/openimds/periods"
)

var start = time.Date(2026, 1, 5, 3, 0, 0, 0, time.UTC)

// seen is what somebody is who came at those times, looked at so long after the last.
func seen(times []time.Time, boots []time.Time, after time.Duration) periods.Period {
	var r periods.Record
	last := time.Time{}
	for _, at := range times {
		r.Note(last, at)
		last = at
	}
	return r.Find(boots, last, last.Add(after))
}

// every makes n times that are so long apart, each up to jitter late, with further ones soon after each.
func every(apart time.Duration, n int, jitter time.Duration, random *rand.Rand, more int) (times []time.Time) {
	for i := range n {
		at := start.Add(time.Duration(i) * apart)
		if jitter > 0 {
			at = at.Add(time.Duration(random.Int64N(int64(jitter))))
		}
		times = append(times, at)
		for k := range more {
			times = append(times, at.Add(time.Duration(k+1)*150*time.Millisecond))
		}
	}
	return times
}

func months(n int) (times []time.Time) {
	for i := range n {
		times = append(times, start.AddDate(0, i, 0))
	}
	return times
}

func TestFind(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	boots := []time.Time{start, start.Add(50 * time.Hour), start.Add(51 * time.Hour)}
	var atBoots []time.Time
	for _, b := range boots {
		atBoots = append(atBoots, b.Add(20*time.Second), b.Add(25*time.Second), b.Add(2*time.Minute))
	}
	var constant, broken []time.Time
	for i := range 4000 {
		constant = append(constant, start.Add(time.Duration(i)*100*time.Millisecond))
	}
	for i := range 12 { // twice as long after each
		broken = append(broken, start.Add(time.Minute<<i))
	}
	for name, c := range map[string]struct {
		times []time.Time
		boots []time.Time
		after time.Duration
		want  string
	}{
		"never":                        {nil, nil, 0, "unknown"},
		"just now":                     {every(time.Hour, 1, 0, random, 3), nil, time.Minute, "unknown"},
		"once":                         {every(time.Hour, 1, 0, random, 3), nil, 25 * time.Hour, "once"},
		"a crawl, once":                {every(5*time.Second, 20, 0, random, 3), nil, 25 * time.Hour, "once"},
		"a few of a loop":              {every(5*time.Second, 4, 0, random, 0), nil, time.Second, "unknown"},
		"a loop":                       {every(5*time.Second, 9, 0, random, 0), nil, time.Second, "every 5 s"},
		"a loop that has ended":        {every(5*time.Second, 2000, 0, random, 2), nil, 50 * time.Hour, "every 5 s"},
		"every minute":                 {every(time.Minute, 6, 0, random, 2), nil, time.Second, "every 1 min"},
		"every five minutes":           {every(5*time.Minute, 30, 20*time.Second, random, 7), nil, time.Second, "every 5 min"},
		"every 90 seconds":             {every(90*time.Second, 30, 2*time.Second, random, 1), nil, time.Second, "every 90 s"},
		"hourly":                       {every(time.Hour, 6, 3*time.Minute, random, 9), nil, time.Minute, "hourly"},
		"every six hours":              {every(6*time.Hour, 6, 10*time.Minute, random, 9), nil, time.Minute, "every 6 h"},
		"daily":                        {every(24*time.Hour, 4, time.Hour, random, 9), nil, time.Minute, "daily"},
		"daily, seen twice":            {every(24*time.Hour, 2, time.Hour, random, 9), nil, time.Minute, "unknown"},
		"weekly":                       {every(7*24*time.Hour, 3, time.Hour, random, 9), nil, time.Minute, "weekly"},
		"monthly":                      {months(3), nil, time.Minute, "monthly"},
		"monthly, seen twice":          {months(2), nil, time.Minute, "unknown"},
		"every two days":               {every(48*time.Hour, 5, time.Hour, random, 9), nil, time.Minute, "every 2 d"},
		"at boot":                      {atBoots, boots, time.Minute, "boot"},
		"at the first boot":            {atBoots[:3], boots[:1], time.Minute, "unknown"},
		"at the first of many":         {atBoots[:3], boots, 48 * time.Hour, "once"},
		"between boots":                {append([]time.Time{}, start.Add(3*time.Hour), start.Add(50*time.Hour)), boots, time.Minute, "unknown"},
		"without a pause":              {constant, nil, time.Second, "constant"},
		"longer and longer in between": {broken, nil, time.Minute, "unknown"},
	} {
		if got := seen(c.times, c.boots, c.after).String(); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
	}
}

// Whatever comes regularly is found out, also if it is late by up to a twentieth, fails to come now and then,
// and somebody calls by hand in between.
func TestRegular(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		apart := time.Duration(float64(2*time.Second) * float64(uint64(1)<<random.IntN(20)) * (1 + random.Float64()))
		if apart > 40*24*time.Hour {
			continue
		}
		times := every(apart, 14+random.IntN(30), apart/20, random, random.IntN(3))
		if apart < 15*time.Minute || apart > 40*time.Minute { // around the gap of sittings, scales mix
			if miss := random.IntN(len(times) - 2); random.IntN(2) == 0 {
				times = append(times[:miss+1:miss+1], times[miss+2:]...)
			}
		}
		got := seen(times, nil, time.Second)
		if got.Every == 0 || float64(got.Every) < 0.9*float64(apart)-float64(time.Second) || float64(got.Every) > 1.1*float64(apart)+float64(time.Second) {
			t.Errorf("every %v: %v, %v", apart, got, got.Every)
		}
	}
}

// What comes at random is hardly ever said to be regular.
func TestRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	const tries = 2000
	wrong := 0
	for range tries {
		mean := float64(10*time.Second) * float64(uint64(1)<<random.IntN(16))
		at, times := start, []time.Time{}
		for range 5 + random.IntN(40) {
			at = at.Add(time.Duration(random.ExpFloat64() * mean))
			times = append(times, at)
		}
		if got := seen(times, nil, time.Second); got.Every > 0 {
			wrong++
		}
	}
	if wrong > tries*3/100 {
		t.Errorf("%d of %d are said to be regular", wrong, tries)
	}
}

// A record is the same, kept or not, and whoever sees the half of it in two places sees the whole.
func TestRecord(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		var whole periods.Record
		parts := [2]periods.Record{}
		lasts := [3]time.Time{}
		at := start
		for range 1 + random.IntN(40) {
			at = at.Add(time.Duration(random.ExpFloat64() * float64(20*time.Minute)))
			i := random.IntN(2)
			parts[i].Note(lasts[i], at)
			whole.Note(lasts[2], at)
			lasts[i], lasts[2] = at, at
		}
		if again := periods.Of(whole.Visits(), whole.Sittings()); again != whole {
			t.Fatalf("%v is kept as %v", whole, again)
		}
		both := parts[0].With(parts[1])
		if parts[1].With(parts[0]) != both {
			t.Errorf("%v and %v depend on who comes first", parts[0], parts[1])
		}
		if n := len(both.Visits()); n > periods.Max || n < len(whole.Visits()) {
			t.Errorf("%v of %v have %d visits", both, whole, n)
		}
	}
}
