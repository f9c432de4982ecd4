package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds/control"
	"go.yaml.in/yaml/v3"
)

// timeline is a scenario: what is announced, when, and to whom.
type timeline struct {
	Instances []string `yaml:"instances"`
	Timeline  []moment `yaml:"timeline"`
}

// moment is one step of a timeline. A step may announce several things at once.
type moment struct {
	At        duration     `yaml:"at"`
	Instances []string     `yaml:"instances"`
	Spot      *spotStep    `yaml:"spot"`
	Rebalance *struct{}    `yaml:"rebalance"`
	Maint     *maintenance `yaml:"maintenance"`
	Lifecycle *string      `yaml:"lifecycle"`
	Clear     []string     `yaml:"clear"`
	line      int
	lines     map[string]int // of the keys
}

type spotStep struct {
	Action string   `yaml:"action"`
	In     duration `yaml:"in"`
}

type maintenance struct {
	Code        string   `yaml:"code"`
	Description string   `yaml:"description"`
	In          duration `yaml:"in"`
	Duration    duration `yaml:"duration"`
}

// duration is written as 90s or +2m.
type duration time.Duration

// UnmarshalYAML reads a duration; its errors name the line.
func (d *duration) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := time.ParseDuration(strings.TrimPrefix(node.Value, "+"))
	if err != nil || parsed < 0 {
		return fmt.Errorf("line %d: %q is not a duration such as 30s or 2m", node.Line, node.Value)
	}
	*d = duration(parsed)
	return nil
}

// UnmarshalYAML remembers the line of a step for later errors.
func (m *moment) UnmarshalYAML(node *yaml.Node) error {
	type plain moment
	err := members(node, map[string]shape{
		"at": aText, "instances": aList, "spot": aMapping, "rebalance": nothing, "maintenance": aMapping, "lifecycle": aText, "clear": aList,
	})
	if err != nil {
		return err
	}
	if err := node.Decode((*plain)(m)); err != nil {
		return err
	}
	m.line, m.lines = node.Line, map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		m.lines[key.Value] = key.Line
		if key.Value == "rebalance" { // alone, it decodes as nothing
			m.Rebalance = &struct{}{}
		}
	}
	return nil
}

// UnmarshalYAML refuses what the type has no room for.
func (s *spotStep) UnmarshalYAML(node *yaml.Node) error {
	type plain spotStep
	if err := members(node, map[string]shape{"action": aText, "in": aText}); err != nil {
		return err
	}
	return node.Decode((*plain)(s))
}

// UnmarshalYAML refuses what the type has no room for.
func (m *maintenance) UnmarshalYAML(node *yaml.Node) error {
	type plain maintenance
	if err := members(node, map[string]shape{"code": aText, "description": aText, "in": aText, "duration": aText}); err != nil {
		return err
	}
	return node.Decode((*plain)(m))
}

// shape is what may stand behind a key, in the words of an error.
type shape string

const (
	aText    shape = "a text"
	aList    shape = "a list of texts such as [a, b]"
	aMapping shape = "a mapping such as {key: value}"
	aSteps   shape = "a list of steps"
	nothing  shape = "nothing"
)

// members refuses a mapping with keys that are not known, that occur twice, or with something behind
// them that cannot be meant. YAML's own errors would name types of this program.
func members(node *yaml.Node, keys map[string]shape) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: expected lines of the form \"key: value\"", node.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		want, known := keys[key.Value]
		switch {
		case !known:
			return fmt.Errorf("line %d: %q is not known here; the keys are %s", key.Line, key.Value, strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
		case seen[key.Value]:
			return fmt.Errorf("line %d: %q occurs twice", key.Line, key.Value)
		case !want.fits(value):
			return fmt.Errorf("line %d: behind %q stands %s", key.Line, key.Value, want)
		}
		seen[key.Value] = true
	}
	return nil
}

func (s shape) fits(node *yaml.Node) bool {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch s {
	case aText:
		return node.Kind == yaml.ScalarNode && node.Tag != "!!null"
	case aList:
		return node.Kind == yaml.SequenceNode && !slices.ContainsFunc(node.Content, func(n *yaml.Node) bool { return !aText.fits(n) })
	case aSteps:
		return node.Kind == yaml.SequenceNode
	case aMapping:
		return node.Kind == yaml.MappingNode
	}
	return node.Kind == yaml.ScalarNode && node.Tag == "!!null"
}

// readTimeline reads a scenario and refuses one that could not be played to its end.
func readTimeline(file string, instances []string) (*timeline, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{err}
	}
	var t timeline
	if err := t.decode(text); err != nil {
		// The library's own errors have a heading and a line each.
		message := strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:"))
		return nil, usagef("%s: %s", file, message)
	}
	if len(instances) > 0 {
		t.Instances = instances
	}
	if len(t.Timeline) == 0 {
		return nil, usagef("%s: there is nothing under \"timeline\"", file)
	}
	for i := range t.Timeline {
		if err := t.Timeline[i].check(&t, time.Now()); err != nil {
			return nil, usagef("%s: %w", file, err)
		}
	}
	slices.SortStableFunc(t.Timeline, func(a, b moment) int { return cmp.Compare(a.At, b.At) })
	return &t, nil
}

func (t *timeline) decode(text []byte) error {
	documents := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := documents.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		return err
	}
	if err := documents.Decode(&more); err == nil {
		return fmt.Errorf("line %d: there is a second document; a file has one timeline", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil
	}
	if err := members(doc.Content[0], map[string]shape{"instances": aList, "timeline": aSteps}); err != nil {
		return err
	}
	return doc.Decode(t)
}

// check refuses what the service would refuse when the step is due. Its errors name line and key.
func (m *moment) check(t *timeline, now time.Time) error {
	if len(m.Instances) == 0 {
		m.Instances = t.Instances
	}
	switch _, timed := m.lines["at"]; {
	case !timed:
		return fmt.Errorf("line %d: \"at\" is missing: when this happens, from the start on", m.line)
	case len(m.Instances) == 0:
		return fmt.Errorf("line %d: no instance is named, neither here nor above nor on the command line", m.line)
	case m.Spot == nil && m.Rebalance == nil && m.Maint == nil && m.Lifecycle == nil && len(m.Clear) == 0:
		return fmt.Errorf("line %d: nothing happens at this step", m.line)
	}
	all := m.request(now)
	for _, part := range []struct {
		key    string
		update control.EventsUpdate
	}{
		{"spot", control.EventsUpdate{Spot: all.spot()}},
		{"maintenance", control.EventsUpdate{Maintenance: all.maintenance()}},
		{"lifecycle", control.EventsUpdate{LifecycleState: all.LifecycleState}},
		{"clear", control.EventsUpdate{Clear: all.clear()}},
	} {
		if err := part.update.Validate(now); err != nil {
			return fmt.Errorf("line %d: %s: %w", m.lines[part.key], part.key, err)
		}
	}
	return nil
}

// request is what a step announces, with times as seen from now.
func (m *moment) request(now time.Time) eventRequest {
	at := func(d time.Duration) epoch { return epochOf(now.Add(d)) }
	r := eventRequest{Clear: m.Clear, LifecycleState: m.Lifecycle}
	if m.Spot != nil {
		in := time.Duration(m.Spot.In)
		if in == 0 {
			in = 2 * time.Minute // AWS's notice
		}
		r.Spot = &spotEvent{m.Spot.Action, at(in)}
	}
	if m.Rebalance != nil {
		r.Rebalance = &rebalanceEvent{at(0)}
	}
	if m.Maint != nil {
		in := time.Duration(m.Maint.In)
		if in == 0 {
			in = 24 * time.Hour
		}
		begin, end := at(in), at(in+time.Duration(m.Maint.Duration))
		r.Maintenance = &maintenanceEvent{Code: m.Maint.Code, Description: m.Maint.Description, NotBefore: &begin}
		if m.Maint.Duration > 0 {
			r.Maintenance.NotAfter = &end
		}
	}
	return r
}
