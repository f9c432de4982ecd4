package migrate

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds/yamlfile"
	"go.yaml.in/yaml/v3"
)

// planFile is a plan as it is written.
type planFile struct {
	Plan       int             `yaml:"plan"`
	Provider   string          `yaml:"provider"`
	Regions    []string        `yaml:"regions"`
	Criteria   criteriaFile    `yaml:"criteria"`
	Hold       *span           `yaml:"hold"`
	Refusals   string          `yaml:"refusals"`
	Waves      []waveFile      `yaml:"waves"`
	Exceptions []exceptionFile `yaml:"exceptions"`
}

type criteriaFile struct {
	Window    *span `yaml:"window"`
	Calls     int64 `yaml:"calls"`
	Gaps      span  `yaml:"gaps"`
	Reboots   int   `yaml:"reboots"`
	MonthEnds int   `yaml:"month-ends"`
}

type waveFile struct {
	Name  string   `yaml:"name"`
	Names []string `yaml:"names"`
	Tags  []string `yaml:"tags"`
	Rest  bool     `yaml:"rest"`
	Share share100 `yaml:"share"`
	Hold  *span    `yaml:"hold"`
	line  int
}

type exceptionFile struct {
	Names     []string `yaml:"names"`
	Tags      []string `yaml:"tags"`
	UserAgent string   `yaml:"user-agent"`
	Source    string   `yaml:"source"`
	Owner     string   `yaml:"owner"`
	Reason    string   `yaml:"reason"`
	Until     string   `yaml:"until"`
	line      int
}

// The keys of a plan.
var (
	planKeys = map[string]yamlfile.Shape{
		"plan": yamlfile.Text, "provider": yamlfile.Text, "regions": yamlfile.Texts, "criteria": yamlfile.Mapping, "hold": yamlfile.Text,
		"refusals": yamlfile.Text, "waves": yamlfile.Mappings, "exceptions": yamlfile.Mappings,
	}
	criteriaKeys = map[string]yamlfile.Shape{
		"window": yamlfile.Text, "calls": yamlfile.Text, "gaps": yamlfile.Text, "reboots": yamlfile.Text, "month-ends": yamlfile.Text,
	}
	waveKeys = map[string]yamlfile.Shape{
		"name": yamlfile.Text, "names": yamlfile.Texts, "tags": yamlfile.Texts, "rest": yamlfile.Text, "share": yamlfile.Text, "hold": yamlfile.Text,
	}
	exceptionKeys = map[string]yamlfile.Shape{
		"names": yamlfile.Texts, "tags": yamlfile.Texts, "user-agent": yamlfile.Text, "source": yamlfile.Text,
		"owner": yamlfile.Text, "reason": yamlfile.Text, "until": yamlfile.Text,
	}
)

// UnmarshalYAML refuses what the type has no room for.
func (c *criteriaFile) UnmarshalYAML(node *yaml.Node) error {
	type plain criteriaFile
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i].Value, node.Content[i+1]
		if n, err := strconv.ParseInt(value.Value, 10, 64); (key == "calls" || key == "reboots" || key == "month-ends") && (err != nil || n < 0) {
			return fmt.Errorf("line %d: %q is a number from 0 on, not %q", value.Line, key, value.Value)
		}
		if d, err := ParseSpan(value.Value); key == "window" && err == nil && d == 0 {
			return fmt.Errorf("line %d: the window is longer than nothing (14d, 36h), not %q", value.Line, value.Value)
		}
	}
	if err := yamlfile.Members(node, criteriaKeys); err != nil {
		return err
	}
	return node.Decode((*plain)(c))
}

// UnmarshalYAML refuses what the type has no room for, and remembers the line.
func (w *waveFile) UnmarshalYAML(node *yaml.Node) error {
	type plain waveFile
	if err := yamlfile.Members(node, waveKeys); err != nil {
		return err
	}
	w.line = node.Line
	return node.Decode((*plain)(w))
}

// UnmarshalYAML refuses what the type has no room for, and remembers the line.
func (e *exceptionFile) UnmarshalYAML(node *yaml.Node) error {
	type plain exceptionFile
	if err := yamlfile.Members(node, exceptionKeys); err != nil {
		return err
	}
	e.line = node.Line
	return node.Decode((*plain)(e))
}

// span is a duration that may also count days: 14d, 1d12h, 10m.
type span time.Duration

// ParseSpan reads a duration that may also count days.
func ParseSpan(text string) (time.Duration, error) {
	const wrong = "a duration is a number with a unit (90s, 1h30m, 7d)"
	days, rest, found := strings.Cut(text, "d")
	if !found {
		days, rest = "0", text
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%s, not %q", wrong, text)
	}
	whole := time.Duration(n) * 24 * time.Hour
	if rest != "" || !found {
		part, err := time.ParseDuration(rest)
		if err != nil || part < 0 {
			return 0, fmt.Errorf("%s, not %q", wrong, text)
		}
		whole += part
	}
	return whole, nil
}

// UnmarshalYAML reads a duration; its errors name the line.
func (s *span) UnmarshalYAML(node *yaml.Node) error {
	d, err := ParseSpan(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: %w", node.Line, err)
	}
	*s = span(d)
	return nil
}

// share100 is written as 25%.
type share100 int

// UnmarshalYAML reads a share; its errors name the line.
func (s *share100) UnmarshalYAML(node *yaml.Node) error {
	number, percent := strings.CutSuffix(node.Value, "%")
	n, err := strconv.Atoi(number)
	if err != nil || !percent || n < 1 || n > 100 {
		return fmt.Errorf("line %d: a share is 1%% to 100%%, not %q", node.Line, node.Value)
	}
	*s = share100(n)
	return nil
}

// MaxFile is the most bytes of a plan.
const MaxFile = yamlfile.MaxFile

// ParsePlan reads a plan, and refuses in one line, with the number of the file's, what could not be carried out.
func ParsePlan(text []byte) (*Plan, error) {
	var f planFile
	if err := yamlfile.Document(text, "plan", planKeys, &f); err != nil {
		return nil, err
	}
	switch {
	case f.Plan != 1:
		return nil, fmt.Errorf("line 1: \"plan: 1\" is missing: the version of the form of plans that this program knows")
	case f.Provider == "":
		return nil, fmt.Errorf("\"provider\" is missing: openimds, lightsail or ec2")
	case len(f.Waves) == 0:
		return nil, fmt.Errorf("there is nothing under \"waves\"")
	case f.Refusals != "" && f.Refusals != "return" && f.Refusals != "unseen":
		return nil, fmt.Errorf("behind \"refusals\" stands return or unseen, not %q", f.Refusals)
	}
	p := &Plan{Provider: f.Provider, Regions: f.Regions, Hold: DefaultHold, Unseen: f.Refusals == "unseen", Text: string(text)}
	p.Criteria = Criteria{Window: DefaultWindow, Calls: f.Criteria.Calls, Gaps: time.Duration(f.Criteria.Gaps), Reboots: f.Criteria.Reboots, MonthEnds: f.Criteria.MonthEnds}
	if f.Criteria.Window != nil {
		p.Criteria.Window = time.Duration(*f.Criteria.Window)
	}
	if f.Hold != nil {
		p.Hold = time.Duration(*f.Hold)
	}
	seen := map[string]int{}
	for _, w := range f.Waves {
		wave, err := w.wave(seen)
		if err != nil {
			return nil, err
		}
		p.Waves = append(p.Waves, wave)
	}
	for _, e := range f.Exceptions {
		exception, err := e.exception()
		if err != nil {
			return nil, err
		}
		p.Exceptions = append(p.Exceptions, exception)
	}
	return p, nil
}

func (w waveFile) wave(seen map[string]int) (Wave, error) {
	wave := Wave{Name: w.Name, Selector: Selector{w.Names, w.Tags}, Rest: w.Rest, Share: int(w.Share), line: w.line}
	if w.Hold != nil {
		wave.Hold = new(time.Duration(*w.Hold))
	}
	first, twice := seen[w.Name]
	seen[w.Name] = w.line
	switch {
	case w.Name == "":
		return wave, fmt.Errorf("line %d: the wave has no \"name\"", w.line)
	case twice:
		return wave, fmt.Errorf("line %d: the wave of line %d has the name %q too", w.line, first, w.Name)
	case wave.empty() != w.Rest:
		return wave, fmt.Errorf("line %d: the wave %q needs \"names\" or \"tags\", or \"rest: true\" without them", w.line, w.Name)
	}
	return wave, wave.check(w.line)
}

func (e exceptionFile) exception() (Exception, error) {
	ex := Exception{Selector: Selector{e.Names, e.Tags}, UserAgent: e.UserAgent, Source: e.Source, Owner: e.Owner, Reason: e.Reason, line: e.line}
	until, err := time.Parse(time.DateOnly, e.Until)
	if err != nil {
		until, err = time.Parse(time.RFC3339, e.Until)
	} else {
		until = until.AddDate(0, 0, 1) // the day itself is in
	}
	ex.Until = until
	switch {
	case ex.empty():
		return ex, fmt.Errorf("line %d: the exception needs \"names\" or \"tags\"; \"names: ['*']\" has all", e.line)
	case e.Owner == "":
		return ex, fmt.Errorf("line %d: the exception has no \"owner\": who answers for it", e.line)
	case e.Until == "":
		return ex, fmt.Errorf("line %d: the exception has no \"until\": when it ends", e.line)
	case err != nil:
		return ex, fmt.Errorf("line %d: \"until\" is a day such as 2027-01-31, not %q", e.line, e.Until)
	}
	for _, pattern := range []string{e.UserAgent, e.Source} {
		if _, err := path.Match(pattern, ""); err != nil {
			return ex, fmt.Errorf("line %d: %q is not a pattern", e.line, pattern)
		}
	}
	return ex, ex.check(e.line)
}

// check refuses patterns that are none.
func (s Selector) check(line int) error {
	for _, name := range s.Names {
		if _, err := path.Match(name, ""); err != nil {
			return fmt.Errorf("line %d: %q is not a pattern", line, name)
		}
	}
	return nil
}
