package scenario

import (
	"strings"
	"testing"
	"time"
)

func TestParseTimeline(t *testing.T) {
	read := func(text string, instances ...string) (*Timeline, error) {
		return ParseTimeline([]byte(text), instances)
	}
	good, err := read(`
instances: [demo]
timeline:
  - at: 2m
    clear: [spot]
  - at: +30s
    spot: {action: stop, in: 90s}
    rebalance:
  - at: 45s
    instances: [web-1]
    maintenance: {code: system-reboot, duration: 1h}
`)
	if err != nil {
		t.Fatal(err)
	}
	first := good.steps[0]
	if time.Duration(first.At) != 30*time.Second || first.Spot == nil || first.Rebalance == nil || first.Instances[0] != "demo" {
		t.Errorf("the first step is %+v", first)
	}
	left := time.Until(first.update(time.Now()).Spot.Time)
	if left < 80*time.Second || left > 90*time.Second {
		t.Errorf("the interruption is %v ahead, want 90s", left)
	}
	if good.steps[1].Instances[0] != "web-1" || good.steps[1].update(time.Now()).Maintenance.NotAfter.IsZero() {
		t.Errorf("the second step is %+v", good.steps[1])
	}
	if _, err := read("x: &r {at: 1s}\n"); err == nil {
		t.Error("a key that nobody knows is taken")
	}
	shared, err := read("instances: [demo]\ntimeline:\n  - {at: 0s, spot: &end {action: stop}}\n  - {at: 1s, spot: *end}\n", "web-2")
	if err != nil || shared.steps[1].Spot.Action != "stop" || shared.steps[1].Instances[0] != "web-2" {
		t.Errorf("a step by its alias: %+v, %v", shared, err)
	}
	const step = "instances: [a]\ntimeline:\n  - at: 1s\n    "
	for text, words := range map[string]string{
		"":                                      "nothing under",
		"# nothing\n":                           "nothing under",
		"timeline: [":                           "line 1",
		"timeline:\n\t- at: 1s":                 "line 2",
		"\x00":                                  "control characters",
		"- at: 1s":                              `line 1: expected lines of the form`,
		"when: now":                             `line 1: "when" is not known here; the keys are instances, timeline`,
		"timeline:\n  at: 1s":                   `line 1: behind "timeline" stands a list of mappings`,
		"timeline:\n  - now":                    "line 2: expected lines of the form",
		"instances: a\ntimeline: []":            `line 1: behind "instances" stands a list of texts`,
		"instances: [[a]]\ntimeline: []":        `line 1: behind "instances" stands a list of texts`,
		"timeline:\n  - at: soon":               `line 2: "soon" is not a duration`,
		"timeline:\n  - at: -3s":                `line 2: "-3s" is not a duration`,
		"timeline:\n  - at: [1s]":               `line 2: behind "at" stands a text`,
		"timeline:\n  - at:":                    `line 2: behind "at" stands a text`,
		"timeline:\n  - at: 1s\n    at: 2s":     `line 3: "at" occurs twice`,
		"timeline:\n  - at: 1s\n    rebalance:": "line 2: no instance is named",
		"instances: [a]\ntimeline:\n  - rebalance:":         `line 3: "at" is missing`,
		"instances: [a]\ntimeline:\n  - at: 1s":             "line 3: nothing happens",
		step + "explode: now":                               `line 4: "explode" is not known here`,
		step + "rebalance: {noticeTime: 1}":                 `line 4: behind "rebalance" stands nothing`,
		step + "spot: terminate":                            `line 4: behind "spot" stands a mapping`,
		step + "spot: {in: 2m}":                             "line 4: spot: The action of a spot interruption must be one of [hibernate stop terminate], not \"\"",
		step + "spot: {action: explode}":                    "line 4: spot: The action of a spot interruption",
		step + "spot: {action: stop, in: yesterday}":        `line 4: "yesterday" is not a duration`,
		step + "spot: {action: stop, in: -2m}":              `line 4: "-2m" is not a duration`,
		step + "spot: {action: stop, in: 0s}":               "line 4: spot: The time of a spot interruption must lie in the future",
		step + "maintenance: {code: system-reboot, in: 0s}": "line 4: maintenance: The time of a scheduled event must lie in the future",
		step + "spot: {action: stop, after: 2m}":            `line 4: "after" is not known here`,
		step + "spot:\n      action: stop\n      in: x":     `line 6: "x" is not a duration`,
		step + "lifecycle: Weird":                           "line 4: lifecycle: The target lifecycle state must be one of",
		step + "lifecycle: [InService]":                     `line 4: behind "lifecycle" stands a text`,
		step + "clear: [everything]":                        `line 4: clear: There is no kind of event "everything"`,
		step + "clear: spot":                                `line 4: behind "clear" stands a list of texts`,
		step + "clear: []":                                  "line 3: nothing happens",
		step + "maintenance: {description: unknown}":        "line 4: maintenance: The code of a scheduled event must be one of",
		step + "maintenance: {code: party}":                 `line 4: maintenance: The code of a scheduled event must be one of [instance-reboot`,
		step + "maintenance: {code: system-reboot, description: " + strings.Repeat("x", 1025) + "}": "line 4: maintenance: The description",
		step + "rebalance:\n---\ntimeline: []":                                                      "line 5: there is a second document",
	} {
		_, err := read(text)
		if err == nil || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v; want one line with %q", text, err, words)
		}
	}
}

// FuzzTimeline: no file is more than a scenario that can be played to its end, or an error of one line
// that names no type of this program.
func FuzzTimeline(f *testing.F) {
	for _, seed := range []string{
		"instances: [demo]\ntimeline:\n  - at: 2m\n    clear: [spot]\n  - at: +30s\n    spot: {action: stop, in: 90s}\n    rebalance:\n",
		"timeline:\n  - at: 45s\n    instances: [web-1]\n    maintenance: {code: system-reboot, in: 1s, duration: 1h}\n    lifecycle: Terminated\n",
		"timeline: [{at: 1s, rebalance: }]\n", "a: &a [*a]\n", "timeline: &t\n  - *t\n", "---\n---\n", "timeline: [{at: 9999999h}]", "\t", "timeline: !!binary aGk=",
		"instances: [a, b]\ntimeline:\n- at: 1e9s\n", "timeline: [{<<: {at: 1s}}]", "{timeline: [{at: 1s, clear: [x, x]}]}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		read, err := ParseTimeline(text, nil)
		if err != nil {
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "scenario.") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		last := time.Duration(0)
		for _, step := range read.steps {
			if time.Duration(step.At) < last {
				t.Errorf("%q: a step comes before the one ahead of it", text)
			}
			last = time.Duration(step.At)
		}
	})
}
