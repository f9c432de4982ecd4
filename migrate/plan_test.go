package migrate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// What cannot be carried out is refused with its line.
func TestPlansRefused(t *testing.T) {
	const head = "plan: 1\nprovider: openimds\n"
	const whole = head + "waves: [{name: rest, rest: true}]\n"
	for text, want := range map[string]string{
		"":                                   `"plan: 1" is missing`,
		"plan: 2\nprovider: openimds\n":      `"plan: 1" is missing`,
		"plan: 1\n":                          `"provider" is missing`,
		head:                                 `nothing under "waves"`,
		whole + "wave: 1\n":                  `line 4: "wave" is not known here`,
		whole + "hold: soon\n":               `line 4: a duration is a number with a unit (90s, 1h30m, 7d), not "soon"`,
		whole + "hold: -1h\n":                `line 4: a duration`,
		whole + "refusals: ignore\n":         `behind "refusals" stands return or unseen`,
		whole + "criteria: {calls: few}\n":   `line 4: "calls" is a number from 0 on, not "few"`,
		whole + "criteria: {calls: -1}\n":    `line 4: "calls" is a number`,
		whole + "criteria: {window: 2 days}": `line 4: a duration`,
		whole + "---\nplan: 1\n":             `there is a second document; a file has one plan`,
		whole + "plan: 1\n":                  `line 4: "plan" occurs twice`,
		head + "waves: [{rest: true}]":       `line 3: the wave has no "name"`,
		head + "waves: [{name: a}]":          `line 3: the wave "a" needs "names" or "tags"`,
		head + "waves: [a]":                  `line 3: expected lines of the form`,
		head + "waves: {name: a}":            `line 3: behind "waves" stands a list of mappings`,
		head + "waves:\n- {name: a, rest: true, names: [b]}":              `line 4: the wave "a" needs`,
		head + "waves:\n- {name: a, rest: true}\n- {name: a, rest: true}": `line 5: the wave of line 4 has the name "a" too`,
		head + "waves:\n- {name: a, names: ['[']}":                        `line 4: "[" is not a pattern`,
		head + "waves:\n- {name: a, names: [b], share: 10}":               `line 4: a share is 1% to 100%, not "10"`,
		head + "waves:\n- {name: a, names: [b], share: 0%}":               `line 4: a share`,
		head + "waves:\n- {name: a, names: b}":                            `line 4: behind "names" stands a list of texts`,
		whole + "exceptions:\n- {names: [a], until: 2030-01-01}":          `line 5: the exception has no "owner"`,
		whole + "exceptions:\n- {names: [a], owner: b}":                   `line 5: the exception has no "until"`,
		whole + "exceptions:\n- {names: [a], owner: b, until: next year}": `line 5: "until" is a day such as 2027-01-31, not "next year"`,
		whole + "exceptions:\n- {owner: b, until: 2030-01-01}":            `line 5: the exception needs "names" or "tags"`,
		"plan: [": "line 1",
	} {
		plan, err := ParsePlan([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "migrate.") {
			t.Errorf("%q: %v, %+v; want one line with %q", text, err, plan, want)
		}
	}
}

func FuzzParsePlan(f *testing.F) {
	f.Add("plan: 1\nprovider: openimds\nwaves: [{name: rest, rest: true}]\nexceptions:\n- {names: ['*'], owner: ops, until: 2030-01-01}")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, text string) {
		if plan, err := ParsePlan([]byte(text)); err == nil {
			if _, err := plan.Crews(nil); err != nil && !strings.Contains(err.Error(), "there is no instance") {
				t.Errorf("%q: %v", text, err)
			}
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: more than a line: %v", text, err)
		}
	})
}

// Each instance is in the first wave that has it.
func TestCrews(t *testing.T) {
	var all []Instance
	for i := range 20 {
		in := Instance{Ref: Ref{"eu-west-1", fmt.Sprintf("web-%d", i), fmt.Sprint("arn", i)}}
		if i%2 == 0 {
			in.Tags = map[string]string{"env": "test", "odd": ""}
		}
		if i >= 15 {
			in.Region = "us-east-1"
		}
		all = append(all, in)
	}
	plan, err := ParsePlan([]byte("plan: 1\nprovider: lightsail\nwaves:\n" +
		"- {name: canary, names: [web-3, 'us-east-1/web-1?']}\n- {name: tagged, tags: [env=test], names: ['web-?']}\n" +
		"- {name: nothing, tags: [env=prod]}\n- {name: half, names: ['*'], share: 50%}\n- {name: rest, rest: true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	crews, err := plan.Crews(all)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	var seen []string
	for _, crew := range crews {
		for _, in := range crew.Members {
			count[crew.Name]++
			seen = append(seen, in.Name)
		}
	}
	slices.Sort(seen)
	if want := map[string]int{"canary": 6, "tagged": 5, "half": 4, "rest": 5}; fmt.Sprint(count) != fmt.Sprint(want) || len(slices.Compact(seen)) != 20 {
		t.Errorf("%v; want %v; %v", count, want, seen)
	}
	plan.Waves[0].Names = append(plan.Waves[0].Names, "eu-west-1/web-17")
	if _, err := plan.Crews(all); err == nil || err.Error() != `line 4: there is no instance "eu-west-1/web-17"` {
		t.Errorf("a name that nobody has: %v", err)
	}
}

// A plan that is written is read as what it was written from.
func TestPlanWritten(t *testing.T) {
	d := Draft{
		Provider: "openimds", Regions: []string{"us-east-1"}, Hold: 90 * time.Minute, Canary: []string{"web-1"}, Waves: []string{"tag:env=it's", "share:25%", "name:api-*,db-?"},
		Criteria: Criteria{Window: 35*aDay + time.Hour, Calls: 2, Gaps: 45 * time.Minute, Reboots: 1, MonthEnds: 1},
	}
	text, err := WritePlan(d, []Assessment{{Instance: Instance{Ref: Ref{"us-east-1", "web\n- x", "arn"}}, Verdict: Unknown, Reason: "a\nb\u2028c"}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePlan([]byte(text))
	if err != nil || p.Criteria != d.Criteria || p.Hold != d.Hold || len(p.Waves) != 5 || p.Waves[1].Tags[0] != "env=it's" || p.Waves[2].Share != 25 || !p.Waves[4].Rest {
		t.Errorf("%v, %+v of\n%s", err, p, text)
	}
	for _, wrong := range []string{"half", "share:half", "env:x"} {
		if _, err := WritePlan(Draft{Provider: "openimds", Waves: []string{wrong}}, nil); err == nil {
			t.Errorf("a wave %q is written", wrong)
		}
	}
	for _, d := range []time.Duration{0, time.Second, 90 * time.Second, time.Minute, time.Hour, 90 * time.Minute, aDay, 14 * aDay, 25 * time.Hour} {
		if got, err := ParseSpan(spell(d)); err != nil || got != d {
			t.Errorf("%s is spelt %s, which is read as %s, %v", d, spell(d), got, err)
		}
	}
}
