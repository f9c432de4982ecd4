package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
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
	if err := knownKeys(node, "at", "instances", "spot", "rebalance", "maintenance", "lifecycle", "clear"); err != nil {
		return err
	}
	if err := node.Decode((*plain)(m)); err != nil {
		return err
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		var err error
		switch node.Content[i].Value {
		case "rebalance": // alone, it decodes as nothing
			m.Rebalance = &struct{}{}
		case "spot":
			err = knownKeys(node.Content[i+1], "action", "in")
		case "maintenance":
			err = knownKeys(node.Content[i+1], "code", "description", "in", "duration")
		}
		if err != nil {
			return err
		}
	}
	m.line = node.Line
	return nil
}

func knownKeys(node *yaml.Node, keys ...string) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: expected lines of the form \"key: value\"", node.Line)
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		if key := node.Content[i]; !slices.Contains(keys, key.Value) {
			return fmt.Errorf("line %d: %q is not known here; the keys are %s", key.Line, key.Value, strings.Join(keys, ", "))
		}
	}
	return nil
}

// readTimeline reads a scenario and refuses one that could not be played to its end.
func readTimeline(file string, instances []string) (*timeline, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{err}
	}
	var doc yaml.Node
	var t timeline
	if err = yaml.Unmarshal(text, &doc); err == nil && len(doc.Content) > 0 {
		if err = knownKeys(doc.Content[0], "instances", "timeline"); err == nil {
			err = doc.Decode(&t)
		}
	}
	if err != nil {
		return nil, usagef("%s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(instances) > 0 {
		t.Instances = instances
	}
	if len(t.Timeline) == 0 {
		return nil, usagef("%s: there is nothing under \"timeline\"", file)
	}
	for i := range t.Timeline {
		if err := t.Timeline[i].check(&t); err != nil {
			return nil, usagef("%s: line %d: %w", file, t.Timeline[i].line, err)
		}
	}
	slices.SortStableFunc(t.Timeline, func(a, b moment) int { return int(a.At - b.At) })
	return &t, nil
}

func (m *moment) check(t *timeline) error {
	if len(m.Instances) == 0 {
		m.Instances = t.Instances
	}
	switch {
	case len(m.Instances) == 0:
		return fmt.Errorf("no instance is named, neither here nor above nor on the command line")
	case m.Spot == nil && m.Rebalance == nil && m.Maint == nil && m.Lifecycle == nil && len(m.Clear) == 0:
		return fmt.Errorf("nothing happens at this step")
	case m.Spot != nil && !slices.Contains([]string{"terminate", "stop", "hibernate"}, m.Spot.Action):
		return fmt.Errorf("the action of spot is terminate, stop or hibernate, not %q", m.Spot.Action)
	case m.Maint != nil && m.Maint.Code == "":
		return fmt.Errorf("maintenance needs a code, such as system-reboot")
	}
	for _, kind := range m.Clear {
		if !slices.Contains(eventKinds(), kind) {
			return fmt.Errorf("clear knows %s, not %q", strings.Join(eventKinds(), ", "), kind)
		}
	}
	return nil
}

// request is what a step announces, with times as seen from now.
func (m *moment) request() eventRequest {
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

func newEventPlay(c *clientConfig) *cobra.Command {
	return &cobra.Command{
		Use:   "play FILE [NAME...]",
		Short: "Play a timeline of events from a YAML file",
		Long: `Play a timeline of events from a YAML file, on the instances that it names or that the command
line names in their place. Times count from the start of the command.

  instances: [demo]
  timeline:
    - at: 10s
      rebalance:
    - at: 30s
      spot: {action: terminate, in: 2m}
    - at: 150s
      clear: [spot, rebalance]`,
		Args: names(1, 0, "a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := readTimeline(args[0], args[1:])
			if err != nil {
				return err
			}
			start := time.Now()
			for i := range t.Timeline {
				m := &t.Timeline[i]
				select {
				case <-cmd.Context().Done():
					return cmd.Context().Err()
				case <-time.After(time.Until(start.Add(time.Duration(m.At)))):
				}
				if err := c.announce(cmd, m.Instances, m.request()); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
