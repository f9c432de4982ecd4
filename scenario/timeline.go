package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/yamlfile"
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
	err := yamlfile.Members(node, map[string]yamlfile.Shape{
		"at": yamlfile.Text, "instances": yamlfile.Texts, "spot": yamlfile.Mapping, "rebalance": yamlfile.Nothing, "maintenance": yamlfile.Mapping, "lifecycle": yamlfile.Text, "clear": yamlfile.Texts,
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
	if err := yamlfile.Members(node, map[string]yamlfile.Shape{"action": yamlfile.Text, "in": yamlfile.Text}); err != nil {
		return err
	}
	return node.Decode((*plain)(s))
}

// UnmarshalYAML refuses what the type has no room for.
func (m *maintenanceStep) UnmarshalYAML(node *yaml.Node) error {
	type plain maintenanceStep
	if err := yamlfile.Members(node, map[string]yamlfile.Shape{"code": yamlfile.Text, "description": yamlfile.Text, "in": yamlfile.Text, "duration": yamlfile.Text}); err != nil {
		return err
	}
	return node.Decode((*plain)(m))
}

// MaxFile is the most bytes of a timeline.
const MaxFile = yamlfile.MaxFile

// ParseTimeline reads a timeline (YAML) and refuses one that could not be played to its end, in one line that
// names the line of the file. Instances, if there are any, take the place of those at the top of the file.
func ParseTimeline(text []byte, instances []string) (*Timeline, error) {
	var f file
	if err := yamlfile.Document(text, "timeline", map[string]yamlfile.Shape{"instances": yamlfile.Texts, "timeline": yamlfile.Mappings}, &f); err != nil {
		return nil, err
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
