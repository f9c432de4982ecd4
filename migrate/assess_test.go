package migrate

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

const aDay = 24 * time.Hour

// whole is known without a gap for so long.
func whole(d time.Duration) Calls {
	return Calls{Since: noon.Add(-d), Until: noon, Boots: []time.Time{}}
}

func with(c Calls, change func(*Calls)) Calls { change(&c); return c }

// A verdict is ready only on what is known from the beginning of the window to its end.
func TestVerdicts(t *testing.T) {
	old := Instance{Ref: Ref{"us-east-1", "web", "arn"}, CreatedAt: noon.AddDate(-1, 0, 0), Options: Options{Tokens: optional, Endpoint: "enabled", HopLimit: 1}}
	young := old
	young.CreatedAt = noon.Add(-2 * aDay)
	requiring := old
	requiring.Options.Tokens = required
	v1 := Caller{Source: "10.0.0.1", UserAgent: "curl/7", NoToken: 3, LastNoToken: noon.Add(-time.Hour)}
	for name, c := range map[string]struct {
		in       Instance
		calls    Calls
		err      error
		criteria Criteria
		verdict  Verdict
		reason   string
	}{
		"required":          {requiring, Calls{}, errors.New("away"), Criteria{}, Done, "tokens are required"},
		"an error":          {old, Calls{}, errors.New("away"), Criteria{}, Unknown, "cannot be found out: away"},
		"nothing":           {old, Calls{}, nil, Criteria{}, Unknown, "nothing was counted in the last 14d"},
		"all known":         {old, whole(14 * aDay), nil, Criteria{}, Ready, "no call without a token since 2026-11-12 12:00 UTC"},
		"one call":          {old, with(whole(14*aDay), func(c *Calls) { c.NoToken = 1 }), nil, Criteria{}, NotYet, "1 call without a token"},
		"calls put up with": {old, with(whole(14*aDay), func(c *Calls) { c.NoToken = 5 }), nil, Criteria{Calls: 5}, Ready, "which the plan puts up with"},
		"one too many":      {old, with(whole(14*aDay), func(c *Calls) { c.NoToken = 6 }), nil, Criteria{Calls: 5}, NotYet, "6 calls"},
		"failed calls":      {old, with(whole(14*aDay), func(c *Calls) { c.Callers = []Caller{v1} }), nil, Criteria{}, NotYet, "3 calls without a token since 2026-11-12 12:00 UTC, the last by 10.0.0.1 curl/7"},
		"refused calls":     {old, with(whole(14*aDay), func(c *Calls) { c.Rejected = new(int64(500)) }), nil, Criteria{}, NotYet, "500 calls without a token since 2026-11-12 12:00 UTC (500 refused)"},
		"put up with": {old, with(whole(14*aDay), func(c *Calls) {
			c.NoToken, c.Callers = 2, []Caller{{NoToken: 4, Failed: 4, LastNoToken: noon}}
		}), nil, Criteria{Calls: 6}, Ready, "6 calls"},
		"refused, and so not put up with": {old, with(whole(14*aDay), func(c *Calls) {
			c.NoToken, c.Rejected, c.Callers = 2, new(int64(1)), []Caller{{NoToken: 4, Rejected: 1, Failed: 4, LastNoToken: noon}}
		}), nil, Criteria{Calls: 1000}, NotYet, "7 calls without a token since 2026-11-12 12:00 UTC (1 refused)"},
		"of each kind, one too many": {old, with(whole(14*aDay), func(c *Calls) {
			c.NoToken, c.Rejected, c.Callers = 2, new(int64(3)), []Caller{{NoToken: 4, Failed: 4, LastNoToken: noon}}
		}), nil, Criteria{Calls: 8}, NotYet, "9 calls without a token since 2026-11-12 12:00 UTC (3 refused)"},
		"refused callers": {old, with(whole(14*aDay), func(c *Calls) {
			c.Callers = []Caller{{Source: "10.0.0.2", UserAgent: "curl/8", Rejected: 5, LastNoToken: noon.Add(-time.Hour)}}
		}), nil, Criteria{}, NotYet, "5 calls without a token since 2026-11-12 12:00 UTC (5 refused), the last by 10.0.0.2 curl/8"},
		"refusals uncounted":                     {old, with(whole(14*aDay), func(c *Calls) { c.ShutUntil = noon.Add(-3 * aDay) }), nil, Criteria{Gaps: 10 * aDay}, Unknown, "may have been refused until 2026-11-23 12:00 UTC, and nobody counted that"},
		"refusals uncounted before the window":   {old, with(whole(14*aDay), func(c *Calls) { c.ShutUntil = noon.Add(-15 * aDay) }), nil, Criteria{}, Ready, ""},
		"calls before a gap":                     {old, with(whole(14*aDay), func(c *Calls) { c.NoToken, c.Missing = 1, aDay }), nil, Criteria{}, NotYet, "1 call"},
		"a gap":                                  {old, with(whole(14*aDay), func(c *Calls) { c.Missing = 5 * time.Minute }), nil, Criteria{}, Unknown, "nothing was counted for 5m since"},
		"a gap put up with":                      {old, with(whole(14*aDay), func(c *Calls) { c.Missing = time.Hour }), nil, Criteria{Gaps: time.Hour}, Ready, ""},
		"one budget of gaps":                     {old, with(whole(14*aDay), func(c *Calls) { c.Missing, c.Until = 7*aDay-time.Hour, noon.Add(-7*aDay) }), nil, Criteria{Gaps: 7 * aDay}, Unknown, "nothing was counted for 334h40m of the window"},
		"within the budget":                      {old, with(whole(13*aDay), func(c *Calls) { c.Missing, c.Until = 12*time.Hour, noon.Add(-12*time.Hour) }), nil, Criteria{Gaps: 2 * aDay}, Ready, ""},
		"a month end in a gap that nobody knows": {old, with(whole(40*aDay), func(c *Calls) { c.Missing = 3 * aDay }), nil, Criteria{Window: 40 * aDay, MonthEnds: 1, Gaps: 3 * aDay}, NotYet, "0 of 1 month ends"},
		"a month end in a gap": {old, with(whole(40*aDay), func(c *Calls) {
			c.Missing, c.Gaps = aDay, []Span{{noon.AddDate(0, 0, -26), noon.AddDate(0, 0, -25)}}
		}), nil, Criteria{Window: 40 * aDay, MonthEnds: 1, Gaps: 3 * aDay}, NotYet, "0 of 1 month ends"},
		"a month end beside a gap": {old, with(whole(40*aDay), func(c *Calls) {
			c.Missing, c.Gaps = aDay, []Span{{noon.AddDate(0, 0, -20), noon.AddDate(0, 0, -19)}}
		}), nil, Criteria{Window: 40 * aDay, MonthEnds: 1, Gaps: 3 * aDay}, Ready, ""},
		"begins late":         {old, whole(13 * aDay), nil, Criteria{}, Unknown, "nothing was counted before 2026-11-13"},
		"young":               {young, whole(2 * aDay), nil, Criteria{}, NotYet, "it has been watched for 2d of 14d"},
		"young, short window": {young, whole(2 * aDay), nil, Criteria{Window: 2 * aDay}, Ready, ""},
		"ended":               {old, with(whole(14*aDay), func(c *Calls) { c.Until = noon.Add(-time.Hour) }), nil, Criteria{}, Unknown, "nothing was counted since 2026-11-26 11:00 UTC"},
		"five minutes late":   {old, with(whole(14*aDay), func(c *Calls) { c.Until = noon.Add(-10 * time.Minute) }), nil, Criteria{}, Ready, ""},
		"a monthly job": {old, with(whole(14*aDay), func(c *Calls) {
			c.Due = []Caller{{Source: "10.0.0.3", UserAgent: "report/1", Period: "monthly", LastNoToken: noon.AddDate(0, 0, -20)}}
		}), nil, Criteria{}, NotYet, "10.0.0.3 report/1 comes monthly, came without a token on 2026-11-06 12:00 UTC, and is due again"},
		"no reboot":       {old, whole(14 * aDay), nil, Criteria{Reboots: 1}, NotYet, "0 of 1 reboots"},
		"a reboot":        {old, with(whole(14*aDay), func(c *Calls) { c.Boots = []time.Time{noon.Add(-aDay)} }), nil, Criteria{Reboots: 1}, Ready, ""},
		"reboots unknown": {old, with(whole(14*aDay), func(c *Calls) { c.Boots = nil }), nil, Criteria{Reboots: 1}, Unknown, "its reboots are not known"},
		"no month end":    {old, whole(14 * aDay), nil, Criteria{MonthEnds: 1}, NotYet, "0 of 1 month ends"},
		"a month end":     {old, whole(40 * aDay), nil, Criteria{Window: 40 * aDay, MonthEnds: 1}, Ready, ""},
	} {
		if c.criteria.Window == 0 {
			c.criteria.Window = DefaultWindow
		}
		a := c.criteria.Judge(c.in, c.calls, c.err, noon)
		if a.Verdict != c.verdict || !strings.Contains(a.Reason, c.reason) {
			t.Errorf("%s: %s: %s; want %s: %s", name, a.Verdict, a.Reason, c.verdict, c.reason)
		}
	}
}

// Whom its token does not reach asks for it in one part of the tree and without it in others: it is a victim of the hop
// limit, not a caller of version 1, until the limit is raised.
func TestVictims(t *testing.T) {
	lost := Caller{Source: "10.0.0.2", UserAgent: "boto3/1.34", PathGroup: "api/token", Lost: 4, LostLast: noon, LostAt: 1, NeededHopLimit: 2}
	falls := Caller{Source: "10.0.0.2", UserAgent: "boto3/1.34", PathGroup: "meta-data/iam", NoToken: 4, LastNoToken: noon}
	other := Caller{Source: "10.0.0.2", UserAgent: "wget", PathGroup: "meta-data", NoToken: 1, LastNoToken: noon}
	v1, victims := tellApart([]Caller{falls, lost, other}, 1)
	if len(v1) != 1 || v1[0].UserAgent != "wget" || len(victims) != 1 || victims[0].NoToken != 4 || victims[0].NeededHopLimit != 2 {
		t.Errorf("callers of v1: %+v, victims: %+v", v1, victims)
	}
	if v1, victims := tellApart([]Caller{falls, lost, other}, 2); len(v1) != 2 || len(victims) != 0 {
		t.Errorf("with the limit raised: %+v, %+v", v1, victims)
	}
	before := Caller{Source: "10.0.0.2", UserAgent: "boto3/1.34", PathGroup: "api/token", LostLast: noon.AddDate(0, 0, -20), LostAt: 1}
	if v1, victims := tellApart([]Caller{falls, before}, 1); len(v1) != 0 || len(victims) != 1 || victims[0].NoToken != 4 {
		t.Errorf("who lost its token earlier, and none reached it since: %+v, %+v", v1, victims)
	}
	reached := Caller{Source: "10.0.0.2", UserAgent: "boto3/1.34", PathGroup: "meta-data", WithToken: 1}
	if v1, victims := tellApart([]Caller{falls, before, reached}, 1); len(v1) != 1 || len(victims) != 0 {
		t.Errorf("whom tokens reach again: %+v, %+v", v1, victims)
	}
	// Of command lines each is a caller of its own: which of them falls back, what there is to do about it tells.
	puts := Caller{Source: "10.0.0.2", UserAgent: "curl/8", PathGroup: "api/token", Process: "curl -X PUT", Lost: 1, LostLast: noon, LostAt: 1, NeededHopLimit: 2}
	empty := Caller{Source: "10.0.0.2", UserAgent: "curl/8", PathGroup: "meta-data", Process: "curl -H X-aws-ec2-metadata-token:", NoToken: 2, LastNoToken: noon, ForHop: new(true)}
	plain := Caller{Source: "10.0.0.2", UserAgent: "curl/8", PathGroup: "meta-data", Process: "curl", NoToken: 3, LastNoToken: noon, ForHop: new(false)}
	if v1, victims := tellApart([]Caller{plain, empty, puts}, 1); len(v1) != 1 || v1[0].NoToken != 3 || len(victims) != 1 || victims[0].NoToken != 2 {
		t.Errorf("command lines: %+v, %+v", v1, victims)
	}
	plain.Process, puts.Process = "", "" // of a virtual machine
	if v1, victims := tellApart([]Caller{plain, puts}, 1); len(v1) != 1 || len(victims) != 1 || victims[0].NoToken != 0 {
		t.Errorf("command lines that nobody knows: %+v, %+v", v1, victims)
	}
	in := Instance{CreatedAt: noon.AddDate(-1, 0, 0), Options: Options{Tokens: optional, HopLimit: 1}}
	a := DefaultCriteria().Judge(in, with(whole(14*aDay), func(c *Calls) { c.NoToken, c.Callers = 4, []Caller{falls, lost} }), nil, noon)
	if want := "by 10.0.0.2 boto3/1.34, whom the token does not reach: it needs hop limit 2"; a.Verdict != NotYet || !strings.HasSuffix(a.Reason, want) {
		t.Errorf("%s: %s", a.Verdict, a.Reason)
	}
}

func TestCycles(t *testing.T) {
	for _, c := range []struct {
		since, until string
		want         Cycles
	}{
		{"2026-11-12", "2026-11-26", Cycles{0, 14, 2, 0}},
		{"2026-10-31", "2026-11-02", Cycles{0, 2, 0, 1}},
		{"2026-11-01", "2026-11-30", Cycles{0, 29, 4, 0}},
		{"2026-12-30", "2027-03-02", Cycles{0, 62, 8, 3}},
		{"2026-11-26", "2026-11-26", Cycles{}},
	} {
		since, _ := time.Parse(time.DateOnly, c.since)
		until, _ := time.Parse(time.DateOnly, c.until)
		if got := cyclesIn(Calls{Since: since, Until: until, Boots: []time.Time{}}); got != c.want {
			t.Errorf("%s to %s: %+v; want %+v", c.since, c.until, got, c.want)
		}
	}
}
