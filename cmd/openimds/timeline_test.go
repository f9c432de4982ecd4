package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReadTimeline(t *testing.T) {
	dir := t.TempDir()
	read := func(text string, instances ...string) (*timeline, error) {
		t.Helper()
		file := filepath.Join(dir, "timeline.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return readTimeline(file, instances)
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
	first := good.Timeline[0]
	if time.Duration(first.At) != 30*time.Second || first.Spot == nil || first.Rebalance == nil || first.Instances[0] != "demo" {
		t.Errorf("the first step is %+v", first)
	}
	left := time.Until(time.UnixMilli(int64(first.request().Spot.Time * 1000)))
	if left < 80*time.Second || left > 90*time.Second {
		t.Errorf("the interruption is %v ahead, want 90s", left)
	}
	if good.Timeline[1].Instances[0] != "web-1" || good.Timeline[1].request().Maintenance.NotAfter == nil {
		t.Errorf("the second step is %+v", good.Timeline[1])
	}
	for text, words := range map[string]string{
		"":                                      "nothing under",
		"timeline: [":                           "line 1",
		"when: now":                             `line 1: "when" is not known here`,
		"timeline:\n  - at: soon":               `line 2: "soon" is not a duration`,
		"timeline:\n  - at: -3s":                `"-3s" is not a duration`,
		"timeline:\n  - at: 1s\n    rebalance:": "line 2: no instance is named",
		"instances: [a]\ntimeline:\n  - at: 1s": "line 3: nothing happens",
		"instances: [a]\ntimeline:\n  - at: 1s\n    explode: now":                        `line 4: "explode" is not known here`,
		"instances: [a]\ntimeline:\n  - at: 1s\n    spot: {action: explode}":             "terminate, stop or hibernate",
		"instances: [a]\ntimeline:\n  - at: 1s\n    spot: {action: stop, after: 2m}":     `"after" is not known here`,
		"instances: [a]\ntimeline:\n  - at: 1s\n    clear: [everything]":                 "clear knows",
		"instances: [a]\ntimeline:\n  - at: 1s\n    maintenance: {description: unknown}": "needs a code",
	} {
		_, err := read(text)
		_, usage := errors.AsType[usageError](err)
		if !usage || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v; want one line with %q", text, err, words)
		}
	}
}
