package migrate

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Plan is who goes to version 2, in which order and on which terms.
type Plan struct {
	Provider string
	Regions  []string
	Criteria Criteria
	// Hold is how long a wave is watched before the next one begins; a wave may have its own.
	Hold time.Duration
	// Unseen says that the plan puts up with a provider that does not tell of refused calls: nobody is brought
	// back by itself then.
	Unseen     bool
	Waves      []Wave
	Exceptions []Exception
	// Text is the file that it was read from.
	Text string
}

// DefaultHold is that of a plan that says nothing else.
const DefaultHold = 10 * time.Minute

// Wave is some instances that go at the same time. What an earlier wave has is not in a later one.
type Wave struct {
	Name string
	Selector
	// Rest takes all that is left.
	Rest bool
	// Share takes that many percent of those that the selector has, at least one; 0: all.
	Share int
	// Hold is the plan's unless it says otherwise.
	Hold *time.Duration
	line int
}

// Selector has the instances of which all of it holds.
type Selector struct {
	// Names are of instances or patterns with * and ?, with or without the region in front (eu-west-1/web-*);
	// one of them is enough.
	Names []string
	// Tags are keys or key=value; one of them is enough.
	Tags []string
}

// Exception leaves instances out, or the refusals of some of their callers, for as long as somebody answers for it.
type Exception struct {
	Selector
	// UserAgent and Source are patterns of the callers that may be refused; empty: any. Without both, the
	// instances are left out.
	UserAgent, Source string
	Owner, Reason     string
	// Until is the first moment at which it does not hold any more.
	Until time.Time
	line  int
}

// ofCallers says that the exception is for callers, and not for whole instances.
func (e Exception) ofCallers() bool { return e.UserAgent != "" || e.Source != "" }

func (e Exception) holds(now time.Time) bool { return now.Before(e.Until) }

// String tells whose exception it is, and until when.
func (e Exception) String() string {
	return fmt.Sprintf("exception of %s until %s", e.Owner, e.Until.UTC().Format(time.DateOnly))
}

// Has says whether the selector has an instance.
func (s Selector) Has(in Instance) bool {
	named := len(s.Names) == 0 || slices.ContainsFunc(s.Names, func(name string) bool { return matches(name, in.Ref) })
	return named && (len(s.Tags) == 0 || slices.ContainsFunc(s.Tags, in.tagged))
}

func (s Selector) empty() bool { return len(s.Names)+len(s.Tags) == 0 }

// matches says whether a name or pattern is of an instance.
func matches(pattern string, of Ref) bool {
	name := of.Name
	if strings.Contains(pattern, "/") {
		name = of.Region + "/" + of.Name
	}
	ok, _ := path.Match(pattern, name)
	return ok
}

// like says whether a text, which may hold slashes, is of a pattern; the empty one has all.
func like(pattern, text string) bool {
	const slash = "\x00"
	ok, _ := path.Match(strings.ReplaceAll(pattern, "/", slash), strings.ReplaceAll(text, "/", slash))
	return ok || pattern == ""
}

// excepted is the exception that leaves an instance out; nil: none does now.
func (p *Plan) excepted(in Instance, now time.Time) *Exception {
	for i, e := range p.Exceptions {
		if !e.ofCallers() && e.Has(in) && e.holds(now) {
			return &p.Exceptions[i]
		}
	}
	return nil
}

// puts is the exception by which a refused caller is put up with; nil: none does now.
func (p *Plan) puts(in Instance, r Refusal, now time.Time) *Exception {
	if r.Caller == nil {
		return nil
	}
	for i, e := range p.Exceptions {
		if e.ofCallers() && e.Has(in) && e.holds(now) && like(e.UserAgent, r.Caller.UserAgent) && like(e.Source, r.Caller.Source) {
			return &p.Exceptions[i]
		}
	}
	return nil
}

// Strangers are the exceptions for callers as which none is known of their instances, by what the steps tell of them, each
// in one line: one that is misspelt puts up with nobody. Where callers are not known, nobody can tell.
func (p *Plan) Strangers(steps []Step) []string {
	var lines []string
	for _, e := range p.Exceptions {
		known, met := false, false
		for _, s := range steps {
			if !e.ofCallers() || !e.Has(s.Assessment.Instance) || !s.Assessment.CallersKnown {
				continue
			}
			known = true
			met = met || slices.ContainsFunc(slices.Concat(s.Assessment.V1, s.Assessment.Victims, s.Assessment.Due), func(c Caller) bool {
				return like(e.UserAgent, c.UserAgent) && like(e.Source, c.Source)
			})
		}
		if known && !met {
			what := strings.TrimSpace(e.UserAgent + " " + e.Source)
			lines = append(lines, fmt.Sprintf("line %d: the exception of %s is for callers like %q, and no caller without a token that is known is like that", e.line, e.Owner, what))
		}
	}
	return lines
}

// Ended are the exceptions that do not hold any more, each in one line that says what to do.
func (p *Plan) Ended(now time.Time) []string {
	var ended []string
	for _, e := range p.Exceptions {
		if !e.holds(now) {
			ended = append(ended, fmt.Sprintf("line %d: the exception of %s ended on %s; take it out or agree on another end with its owner", e.line, e.Owner, e.Until.UTC().Format(time.DateOnly)))
		}
	}
	return ended
}

// hold is how long a wave is watched.
func (p *Plan) hold(w Wave) time.Duration {
	if w.Hold != nil {
		return *w.Hold
	}
	return p.Hold
}

// Crew is a wave with its instances.
type Crew struct {
	Wave
	Members []Instance
}

// Crews gives each wave its instances. Those that no wave has are not touched.
//
// Errors: a line of the plan names an instance that is not there, or an exception is for nobody.
func (p *Plan) Crews(all []Instance) ([]Crew, error) {
	if err := p.known(all); err != nil {
		return nil, err
	}
	taken := map[Ref]bool{}
	crews := make([]Crew, 0, len(p.Waves))
	for _, w := range p.Waves {
		crew := Crew{Wave: w}
		for _, in := range all {
			if !taken[in.Ref] && (w.Rest || w.Has(in)) {
				crew.Members = append(crew.Members, in)
			}
		}
		if w.Share > 0 {
			crew.Members = share(crew.Members, w.Share)
		}
		for _, in := range crew.Members {
			taken[in.Ref] = true
		}
		crews = append(crews, crew)
	}
	return crews, nil
}

// known refuses names of instances that are not there: a misspelt one would be left out of its exception.
func (p *Plan) known(all []Instance) error {
	check := func(names []string, line int) error {
		for _, name := range names {
			if !strings.ContainsAny(name, "*?[") && !slices.ContainsFunc(all, func(in Instance) bool { return matches(name, in.Ref) }) {
				return fmt.Errorf("line %d: there is no instance %q", line, name)
			}
		}
		return nil
	}
	for _, w := range p.Waves {
		if err := check(w.Names, w.line); err != nil {
			return err
		}
	}
	for _, e := range p.Exceptions {
		if err := check(e.Names, e.line); err != nil {
			return err
		}
		if len(all) == 0 {
			continue // nobody is left out of it
		}
		if err := e.idle(all); err != nil {
			return err
		}
	}
	return nil
}

// idle is an error that says what of an exception has no instance, of all that there are: misspelt, it would except
// nobody.
func (e Exception) idle(all []Instance) error {
	of := func(s Selector) bool { return slices.ContainsFunc(all, s.Has) }
	for _, name := range e.Names {
		if !of(Selector{Names: []string{name}}) {
			return fmt.Errorf("line %d: the exception of %s is for %q, which no instance is called; mend it or take it out", e.line, e.Owner, name)
		}
	}
	for _, tag := range e.Tags {
		if !of(Selector{Tags: []string{tag}}) {
			return fmt.Errorf("line %d: the exception of %s is for the tag %q, which no instance has; mend it or take it out", e.line, e.Owner, tag)
		}
	}
	if !of(e.Selector) {
		return fmt.Errorf("line %d: no instance has one of the names and one of the tags of the exception of %s; mend it or take it out", e.line, e.Owner)
	}
	return nil
}

// share takes some percent of instances, the same ones each time, and not those next to each other.
func share(of []Instance, percent int) []Instance {
	if len(of) == 0 {
		return nil
	}
	n := max(1, len(of)*percent/100)
	shuffled := slices.Clone(of)
	place := func(in Instance) string { sum := sha256.Sum256([]byte(in.ID)); return string(sum[:]) }
	slices.SortFunc(shuffled, func(a, b Instance) int { return cmp.Compare(place(a), place(b)) })
	shuffled = shuffled[:n]
	slices.SortFunc(shuffled, byPlace)
	return shuffled
}

// byPlace orders instances by region and name.
func byPlace(a, b Instance) int {
	return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Name, b.Name))
}
