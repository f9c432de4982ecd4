package scenario

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"go.yaml.in/yaml/v3"
)

// Timeline is what is announced, when, and to whom.
type Timeline struct{ steps []step }

// file is a timeline as it is written.
type file struct {
	Instances []string `yaml:"instances"`
	Timeline  []step   `yaml:"timeline"`
}

// step is one moment of a timeline. It may announce several things at once.
type step struct {
	At          duration         `yaml:"at"`
	Instances   []string         `yaml:"instances"`
	Spot        *spotStep        `yaml:"spot"`
	Rebalance   *struct{}        `yaml:"rebalance"`
	Maintenance *maintenanceStep `yaml:"maintenance"`
	Lifecycle   *string          `yaml:"lifecycle"`
	Clear       []string         `yaml:"clear"`
	line        int
	lines       map[string]int // of the keys
}

type spotStep struct {
	Action string    `yaml:"action"`
	In     *duration `yaml:"in"` // nil: spotNotice
}

type maintenanceStep struct {
	Code        string    `yaml:"code"`
	Description string    `yaml:"description"`
	In          *duration `yaml:"in"` // nil: maintenanceNotice
	Duration    duration  `yaml:"duration"`
}

// duration is written as 90s or +2m.
type duration time.Duration

// or is the duration, or another one where none is written: 0s is one that is written.
func (d *duration) or(otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return time.Duration(*d)
}

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
func (m *step) UnmarshalYAML(node *yaml.Node) error {
	type plain step
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
func (m *maintenanceStep) UnmarshalYAML(node *yaml.Node) error {
	type plain maintenanceStep
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

// ParseTimeline reads a timeline (YAML) and refuses one that could not be played to its end, in one line that
// names the line of the file. Instances, if there are any, take the place of those at the top of the file.
func ParseTimeline(text []byte, instances []string) (*Timeline, error) {
	var f file
	if err := f.decode(text); err != nil {
		// The library's own errors have a heading and a line each.
		return nil, errors.New(strings.TrimSpace(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:")))
	}
	if len(instances) > 0 {
		f.Instances = instances
	}
	if len(f.Timeline) == 0 {
		return nil, errors.New("there is nothing under \"timeline\"")
	}
	for i := range f.Timeline {
		if err := f.Timeline[i].check(f.Instances, time.Now()); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(f.Timeline, func(a, b step) int { return cmp.Compare(a.At, b.At) })
	return &Timeline{f.Timeline}, nil
}

func (f *file) decode(text []byte) error {
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
	return doc.Decode(f)
}

// check refuses what the service would refuse when the step is due. Its errors name line and key.
func (m *step) check(instances []string, now time.Time) error {
	if len(m.Instances) == 0 {
		m.Instances = instances
	}
	switch _, timed := m.lines["at"]; {
	case !timed:
		return fmt.Errorf("line %d: \"at\" is missing: when this happens, from the start on", m.line)
	case len(m.Instances) == 0:
		return fmt.Errorf("line %d: no instance is named, neither here nor above nor on the command line", m.line)
	case m.Spot == nil && m.Rebalance == nil && m.Maintenance == nil && m.Lifecycle == nil && len(m.Clear) == 0:
		return fmt.Errorf("line %d: nothing happens at this step", m.line)
	}
	all := m.update(now)
	for _, part := range []struct {
		key    string
		update control.EventsUpdate
	}{
		{"spot", control.EventsUpdate{Spot: all.Spot}},
		{"maintenance", control.EventsUpdate{Maintenance: all.Maintenance}},
		{"lifecycle", control.EventsUpdate{LifecycleState: all.LifecycleState}},
		{"clear", control.EventsUpdate{Clear: all.Clear}},
	} {
		if err := part.update.Validate(now); err != nil {
			return fmt.Errorf("line %d: %s: %w", m.lines[part.key], part.key, err)
		}
	}
	return nil
}

// How far ahead something is unless the timeline says it: AWS's notice of an interruption, and a day.
const (
	spotNotice        = 2 * time.Minute
	maintenanceNotice = 24 * time.Hour
)

// update is what a step announces, with times as seen from now.
func (m *step) update(now time.Time) control.EventsUpdate {
	u := control.EventsUpdate{LifecycleState: m.Lifecycle}
	for _, kind := range m.Clear {
		u.Clear = append(u.Clear, control.EventKind(kind))
	}
	if m.Spot != nil {
		u.Spot = &openimds.SpotInterruption{Action: m.Spot.Action, Time: now.Add(m.Spot.In.or(spotNotice))}
	}
	if m.Rebalance != nil {
		u.RebalanceAt = &now
	}
	if m.Maintenance != nil {
		begin := now.Add(m.Maintenance.In.or(maintenanceNotice))
		u.Maintenance = &openimds.MaintenanceEvent{Code: m.Maintenance.Code, Description: m.Maintenance.Description, NotBefore: begin}
		if m.Maintenance.Duration > 0 {
			u.Maintenance.NotAfter = begin.Add(time.Duration(m.Maintenance.Duration))
		}
	}
	return u
}
