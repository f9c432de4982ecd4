package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/advice"
	"github.com/openimds/openimds/attest"
	"github.com/openimds/openimds/migrate"
	"github.com/openimds/openimds/printable"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// told is a provider that tells what it is given.
type told struct {
	migrate.Provider
	calls migrate.Calls
	err   error
}

func (told) Name() string      { return "lightsail" }
func (told) Regions() []string { return []string{"us-east-1"} }
func (p told) Calls(context.Context, migrate.Instance, time.Time) (migrate.Calls, error) {
	return p.calls, p.err
}

type source struct {
	details Details
	err     error
}

func (s source) Details(context.Context, migrate.Instance, time.Time, time.Time) (Details, error) {
	return s.details, s.err
}

func input(p migrate.Provider, s Source) Input {
	one := migrate.Instance{Ref: migrate.Ref{Region: "us-east-1", Name: "web-1", ID: "arn"}, State: "running", CreatedAt: noon.AddDate(-1, 0, 0)}
	one.Options = migrate.Options{Tokens: "optional", Endpoint: "enabled", HopLimit: 1}
	return Input{Provider: p, Source: s, Instances: []migrate.Instance{one}, Criteria: migrate.DefaultCriteria(), Now: noon}
}

func made(t *testing.T, in Input) (*Report, string) {
	t.Helper()
	r, err := Make(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	page, err := r.HTML()
	if err != nil {
		t.Fatal(err)
	}
	return r, string(page)
}

// What is not known is called so, in both forms, and is nowhere a zero.
func TestUnknown(t *testing.T) {
	for what, c := range map[string]struct {
		told
		Source
	}{
		"an error": {told{err: errors.New("throttled")}, nil}, "no metric": {}, "no callers where nothing was counted": {Source: source{details: Details{Callers: []Caller{}, V2Callers: new(0)}}},
	} {
		r, page := made(t, input(c.told, c.Source))
		one := r.Instances[0]
		if one.Verdict != migrate.Unknown || r.Totals["unknown"] != 1 || one.Calls != (Calls{}) || one.Window != nil || one.Callers != nil || one.History != nil {
			t.Errorf("%s: %+v", what, one)
		}
		for _, words := range []string{
			`<td class="v unknown">unknown</td>`, `<td class="n">unknown</td><td class="n">unknown</td><td class="n">unknown</td>`,
			"its calls: nothing was counted in the window", "who called", "how its options were changed", "the service names no callers", "This report is not signed",
			"unknown without a token and answered",
		} {
			if !strings.Contains(page, words) {
				t.Errorf("%s: the page does not say %q", what, words)
			}
		}
		text, err := r.JSON()
		if err != nil || !bytes.Contains(text, []byte(`"v1": null`)) || !bytes.Contains(text, []byte(`"history": null`)) || !bytes.Contains(text, []byte(`"window": null`)) {
			t.Errorf("%s: %s, %v", what, text, err)
		}
	}
}

// A part of the window that is not known is told beside the numbers of the rest.
func TestGapsAreTold(t *testing.T) {
	calls := migrate.Calls{Since: noon.Add(-24 * time.Hour), Until: noon.Add(time.Minute), Missing: time.Hour, Rejected: new(int64)}
	r, page := made(t, input(told{calls: calls}, source{Details{V2: new(int64(3)), Callers: []Caller{}, V2Callers: new(2), History: &History{KnownSince: noon}}, errors.New("half of it")}))
	one := r.Instances[0]
	if !one.Window.Until.Equal(noon) || one.Window.MissingSeconds != 3600 || *one.Calls.V2 != 3 {
		t.Errorf("%+v", one)
	}
	for _, words := range []string{
		"without 1h in between", "its calls in 1h of the window", "its calls from 2026-11-08 12:00 UTC to 2026-11-21 12:00 UTC", "how often it was started in the window",
		"how its options were changed before the log of changes begins", "all that the service did not tell: half of it", "None was seen; 2 callers came with a token",
	} {
		if !strings.Contains(page, words) {
			t.Errorf("the page does not say %q", words)
		}
	}
}

// Nobody's text becomes a part of the page, and the page asks for nothing from elsewhere.
func TestHostile(t *testing.T) {
	const bad = "x\nFORGED\n" + `</td><script src="http://evil/x">alert(1)</script><img onerror=x>` + "\u202e\x1b[2J<!-- openimds-signature "
	in := input(told{calls: migrate.Calls{Since: noon.AddDate(0, -1, 0), Until: noon}}, source{details: Details{
		Callers: []Caller{{Source: bad, UserAgent: bad, Process: bad, PathGroups: []string{bad}, State: bad, Period: bad, Advice: []advice.Advice{{Text: bad, Source: bad}}}},
		History: &History{Changes: []Change{{Who: bad, What: bad}}},
	}})
	one := &in.Instances[0]
	one.Name, one.ID, one.State, one.Blueprint, one.Options.Tokens = bad, bad, bad, bad, bad
	in.Installation = &Installation{Region: bad, AccountID: bad, Version: bad, Key: bad}
	in.Plan = &migrate.Plan{Exceptions: []migrate.Exception{{Owner: bad, Reason: bad, UserAgent: bad, Source: bad}}}
	in.Journal = []migrate.Record{{Kind: bad, By: bad, Wave: bad, Reason: bad}}
	_, page := made(t, in)
	for _, tag := range []string{"<script", "<img", "<link", "<!-- openimds", "@import", "url(", "\u202e", "\x1b", "\nFORGED"} {
		if strings.Contains(page, tag) {
			t.Errorf("the page has %q", tag)
		}
	}
	if n := strings.Count(page, "<td"); n != strings.Count(page, "</td>") {
		t.Errorf("the table is torn: %d cells begin", n)
	}
}

// Who is fixed has shown it; who is silent has shown nothing.
func TestStates(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		what     string
		v1, seen time.Duration // ago
		v2       int64
		period   time.Duration
		want     string
	}{
		{"calls without a token", time.Hour, time.Hour, 0, 0, StateOpen},
		{"calls in both ways", time.Hour, time.Minute, 9, 0, StateOpen},
		{"has used tokens for a while", 3 * day, time.Hour, 9, 0, StateFixed},
		{"has used tokens for an hour", 2 * time.Hour, time.Hour, 9, 0, StateOpen},
		{"comes monthly, and used tokens a day later", 2 * day, time.Hour, 1, 30 * day, StateOpen},
		{"comes monthly, and used tokens a month later", 29 * day, time.Hour, 1, 30 * day, StateFixed},
		{"comes daily, and used tokens two days later", 2 * day, time.Hour, 1, day, StateFixed},
		{"was not seen for two days", 2 * day, 2 * day, 0, 0, StateSilent},
		{"comes monthly, and was not seen for two days", 2 * day, 2 * day, 0, 30 * day, StateOpen},
		{"comes monthly, and was not seen for three months", 90 * day, 90 * day, 0, 30 * day, StateSilent},
		{"used tokens first and then none", 2 * day, 2 * day, 9, 0, StateSilent},
	} {
		c := Caller{V1: 1, V2: tt.v2, LastV1: noon.Add(-tt.v1), LastSeen: noon.Add(-tt.seen), Advice: []advice.Advice{{}}}
		if c.conclude(tt.period, noon); c.State != tt.want || (len(c.Advice) == 0) != (tt.want == StateFixed) {
			t.Errorf("who %s is %s, want %s", tt.what, c.State, tt.want)
		}
	}
}

// Both forms can be sealed, and what JSON says can be read again.
func TestForms(t *testing.T) {
	key, err := attest.New()
	if err != nil {
		t.Fatal(err)
	}
	r, page := made(t, input(told{}, nil))
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range [][]byte{[]byte(page), text} {
		signed, err := key.SignReport(openimds.ReportStatement{Digest: attest.Digest(body), Installation: "i", By: "me", At: noon})
		if err != nil {
			t.Fatal(err)
		}
		file, err := attest.Seal(body, signed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attest.Verify(file, attest.Fingerprint(key.ReportKey())); err != nil {
			t.Error(err)
		}
		if body[0] == '{' {
			var again Report
			if err := json.Unmarshal(file, &again); err != nil || again.Instances[0].Name != "web-1" {
				t.Errorf("%+v, %v", again, err)
			}
		}
	}
}

// A report whose instances are kept as JSON, and told one by one, is the same in both forms: with all that is known of an
// instance, with nothing, and without any.
func TestWrittenOneByOne(t *testing.T) {
	full := source{details: Details{
		V2: new(int64(3)), WouldBeRefused: new(int64(0)), TokensLost: new(int64(1)), V2Callers: new(0),
		Callers:   []Caller{{Source: "10.0.0.1", UserAgent: "<a>&\u202e", PathGroups: []string{"meta-data"}, State: StateOpen, V1: 1, LastSeen: noon, Advice: []advice.Advice{{Text: "x"}}}, {}},
		History:   &History{Changes: []Change{{Time: noon, Who: "me", What: "tokens"}}, KnownSince: noon},
		Rehearsal: &openimds.Rehearsal{Mode: openimds.RehearseBrownOut, Share: 0.5, Since: noon, Until: noon.Add(time.Hour)},
	}}
	known := told{calls: migrate.Calls{Since: noon.AddDate(0, -1, 0), Until: noon, NoToken: 3, Rejected: new(int64)}}
	for what, in := range map[string]Input{"all": input(known, full), "nothing": input(told{}, nil), "nobody called": input(known, source{details: Details{Callers: []Caller{}}}), "none": {Provider: told{}, Now: noon}} {
		in.Instances = slices.Repeat(in.Instances, map[bool]int{true: together + 1, false: 2}[what == "all"])
		whole, page := made(t, in)
		text, err := whole.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if indented, err := json.MarshalIndent(whole, "", "  "); err != nil || string(printable.Text(indented))+"\n" != string(text) {
			t.Errorf("%s: %v", what, err)
		}
		var kept bytes.Buffer
		parts := Begin(in)
		if err := in.Each(t.Context(), parts, func(one Instance) error { return json.NewEncoder(&kept).Encode(one) }); err != nil {
			t.Fatal(err)
		}
		all := func(pass func(Instance) error) error {
			for decoder := json.NewDecoder(bytes.NewReader(kept.Bytes())); ; {
				var one Instance
				switch err := decoder.Decode(&one); {
				case err == io.EOF:
					return nil
				case err != nil:
					return err
				}
				if err := pass(one); err != nil {
					return err
				}
			}
		}
		var asPage, asJSON bytes.Buffer
		if err := errors.Join(parts.WriteHTML(&asPage, all), parts.WriteJSON(&asJSON, all)); err != nil {
			t.Fatal(err)
		}
		if asPage.String() != page || asJSON.String() != string(text) {
			t.Errorf("%s: what is written one by one is another report", what)
		}
	}
}

// Where instances cannot be told, there is no report, and not a shorter one.
func TestNoShorterReport(t *testing.T) {
	r, _ := made(t, input(told{}, nil))
	damaged := errors.New("cannot be read any more")
	all := func(pass func(Instance) error) error {
		if err := pass(r.Instances[0]); err != nil {
			return err
		}
		return damaged
	}
	if err := r.WriteHTML(io.Discard, all); !errors.Is(err, damaged) {
		t.Errorf("the page ends with %v", err)
	}
	if err := r.WriteJSON(io.Discard, all); !errors.Is(err, damaged) {
		t.Errorf("the JSON ends with %v", err)
	}
}
