package usage

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/openimds/openimds"
)

// How many callers of an instance have a process, how many processes are told apart, what these take up in the
// record, and how many command lines of one program are. What is beyond counts with the caller of all processes.
const (
	maxNamed        = maxCallers / 2
	maxProcesses    = 128
	maxProcessBytes = 16 << 10
	maxCommands     = 16
	maxCommandBytes = 256
)

// process is who called, on this host. It is told apart by all that is known of it.
type process struct {
	number int
	text   string // openimds.CallerProcess as JSON
	base   string // the same without a command line
}

// named are the processes of one guest's callers. They are under the guest's mu.
type named struct {
	byText  map[string]*process
	byBase  map[string]int // how many processes
	bytes   int
	last    int // number
	callers int
}

// Who is a caller for whom a call was counted. The zero Who is nobody.
type Who struct {
	g *Tally
	c *caller
}

// Is says which process of this host made the call that was counted. It may be said at any time after the count, once,
// and waits for nothing but memory. What is never said counts with the caller all the same.
func (w Who) Is(p openimds.CallerProcess, call Call, at time.Time) {
	count := call.count()
	if w.c == nil || w.c == &w.g.callers.others || count == uncounted {
		return
	}
	c := w.g.named(w.c, p, at)
	if c == nil {
		return
	}
	if call == Forwarded {
		c.forwarded.Store(at.UnixNano())
	}
	c.count(w.g, count, at)
}

// named finds the part of a caller that one process is; nil: there is no room for it.
func (g *Tally) named(of *caller, p openimds.CallerProcess, at time.Time) *caller {
	g.mu.Lock()
	defer g.mu.Unlock()
	by := g.callers.intern(p)
	if by == nil {
		return nil
	}
	agent := []byte(of.userAgent)
	return g.callers.add(g.callers.hash(of.source, of.group, agent, by), of.source, of.group, agent, by, at)
}

// intern returns the process that is told apart by that; nil: there is no room for it. The guest's mu is held.
func (c *callers) intern(p openimds.CallerProcess) *process {
	p.Arguments = shortened(p.Arguments)
	base := p
	base.Arguments = nil
	baseText := asText(base)
	if c.named.byBase[baseText] >= maxCommands { // a program that never asks the same twice
		p = base
	}
	text := asText(p)
	if known := c.named.byText[text]; known != nil {
		return known
	}
	return c.addProcess(text, baseText)
}

func (c *callers) addProcess(text, base string) *process {
	n := &c.named
	if len(n.byText) == maxProcesses || n.bytes+wordBytes+len(text) > maxProcessBytes {
		return nil
	}
	if n.byText == nil {
		n.byText, n.byBase = map[string]*process{}, map[string]int{}
	}
	n.last++
	made := &process{number: n.last, text: text, base: base}
	n.byText[text] = made
	n.byBase[base]++
	n.bytes += wordBytes + len(text)
	return made
}

// learnProcess is intern for a process as it was stored.
func (c *callers) learnProcess(text string) *process {
	if known := c.named.byText[text]; known != nil {
		return known
	}
	var p openimds.CallerProcess
	if json.Unmarshal([]byte(text), &p) != nil {
		return nil
	}
	p.Arguments = nil
	return c.addProcess(text, asText(p))
}

// forgetProcesses forgets those that no caller has any more. The guest's mu is held.
func (c *callers) forgetProcesses() {
	kept := named{last: c.named.last}
	for known := range c.table.Load().all {
		if p := known.process; p != nil {
			kept.callers++
			if kept.byText == nil {
				kept.byText, kept.byBase = map[string]*process{}, map[string]int{}
			}
			if kept.byText[p.text] == nil {
				kept.byText[p.text] = p
				kept.byBase[p.base]++
				kept.bytes += wordBytes + len(p.text)
			}
		}
	}
	c.named = kept
}

func asText(p openimds.CallerProcess) string {
	text, _ := json.Marshal(p) // never fails
	return string(text)
}

// shortened are arguments that take up no more than their bound, with a mark where there were more.
func shortened(arguments []string) []string {
	room := maxCommandBytes
	for i, a := range arguments {
		if room -= len(a) + 1; room < 0 {
			cut := strings.ToValidUTF8(a[:max(len(a)+room, 0)], "")
			return append(append([]string{}, arguments[:i]...), cut+cutMark)
		}
	}
	return arguments
}

// families puts callers together that are one but for their processes.
func families(all []callerRecord) map[callerKey][]callerRecord {
	found := map[callerKey][]callerRecord{}
	for _, c := range all {
		key := c.callerKey
		key.Process = ""
		found[key] = append(found[key], c)
	}
	return found
}

// commonBeginning is the time from which on the calls of all of a family can be told as exactly as of each other: at or
// before since, for windows of some may be longer. Else the calls of processes could not be taken off those of all.
func commonBeginning(family []callerRecord, since time.Time) time.Time {
	if since.IsZero() || len(family) == 1 {
		return since
	}
	for {
		sample := sampleOf(since.UnixNano())
		begins := sample
		for _, c := range family {
			if c.from <= sample {
				_, earlier := sumSince(c.windows, sample)
				begins = min(begins, earlier)
			}
		}
		if begins == sample {
			return since
		}
		since = time.Unix(0, begins*sampleNanos)
	}
}

// apart takes the calls of processes off those of their callers; who has no others left is gone. A token that did not
// arrive is the process's if there is only one.
func apart(merged map[callerKey]callerRecord) map[callerKey]callerRecord {
	parts := map[callerKey][]callerKey{}
	for key := range merged {
		if key.Process != "" {
			whole := key
			whole.Process = ""
			parts[whole] = append(parts[whole], key)
		}
	}
	for whole, keys := range parts {
		rest, ok := merged[whole]
		if !ok { // its record was damaged
			continue
		}
		counts := counts{}
		for i, name := range countNames {
			counts[i] = rest.Counts[name]
		}
		for _, key := range keys {
			for i, name := range countNames {
				counts[i] -= min(counts[i], merged[key].Counts[name])
			}
		}
		if one := merged[keys[0]]; len(keys) == 1 && rest.Lost != nil {
			one.Lost, rest.Lost = rest.Lost, nil
			one.Counts = with(one.Counts, openimds.MetricTokenUndelivered, counts[tokenUndelivered])
			counts[tokenUndelivered] = 0
			merged[keys[0]] = one
		}
		if rest.Counts = counts.byName(); len(rest.Counts) == 0 {
			delete(merged, whole)
			continue
		}
		if counts[noToken]+counts[noTokenRejected]+counts[noTokenFailed] == 0 {
			rest.FirstV1, rest.LastV1 = 0, 0
		}
		merged[whole] = rest
	}
	return merged
}

// with are counts with one more; those that were given stay as they are.
func with(counts map[string]uint64, name string, n uint64) map[string]uint64 {
	more := map[string]uint64{}
	for known, k := range counts {
		more[known] = k
	}
	if more[name] += n; more[name] == 0 {
		delete(more, name)
	}
	return more
}

// process is the one that a caller is; nil: it is all of them.
func (c callerRecord) process() *openimds.CallerProcess {
	if c.Process == "" {
		return nil
	}
	p := &openimds.CallerProcess{}
	if json.Unmarshal([]byte(c.Process), p) != nil {
		return nil
	}
	return p
}

// commandOf orders callers that are the same but for their processes.
func commandOf(c openimds.Caller) string {
	if c.Process == nil {
		return ""
	}
	return c.Process.Executable + " " + c.Process.Command()
}
