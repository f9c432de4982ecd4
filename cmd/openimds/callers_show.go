package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/advice"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// callersView is what is shown of callers: one by one, or summed up by what they have in common.
type callersView struct {
	callers []wire.MetadataCaller
	since   time.Time
	by      string // one of groupings; empty: one by one
	wide    bool   // all columns
}

func (v callersView) show(c *clientConfig, out io.Writer) error {
	var err error
	if v.by == "" {
		rows := v.rows
		if v.wide {
			rows = v.wideRows
		}
		err = c.show(out, v.callers, rows)
	} else {
		groups := v.groups()
		err = c.show(out, groups, func(row func(...any)) { groupRows(v.by, groups, row) })
	}
	if err != nil || c.output == "json" {
		return err
	}
	for _, line := range v.toDo() {
		if err := say(out, "%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// rows has what one looks for: who still comes without a token, how often, and whether it knows better.
func (v callersView) rows(row func(...any)) {
	row("INSTANCE", "SOURCE", "V1", "V1 REFUSED", "LAST V1", "V2", "LAST SEEN", "PERIOD", "CALLER")
	who := v.who()
	for i, c := range v.callers {
		n := c.Counts
		row(c.InstanceName, c.Source, openimds.V1Calls(n), n[openimds.MetricNoTokenRejected], whenever(c.LastWithoutToken),
			v2Calls(n), when(c.LastSeen), dash(c.Period.Text), dash(who[i]))
	}
}

// v2Calls is how many of a caller's counted calls were with a session token or for one.
func v2Calls(counts map[string]int64) int64 {
	return counts[openimds.MetricTokenRequests] + counts[openimds.MetricWithToken] + counts[openimds.CountWithTokenFailed]
}

// who has what each caller is called, and behind it what tells it from others whose row would look the same.
func (v callersView) who() []string {
	names := make([]string, len(v.callers))
	alike := map[[3]string][]int{}
	for i, c := range v.callers {
		names[i] = c.UserAgent
		if c.Process != nil {
			names[i] = cmp.Or(c.Process.Command(), c.UserAgent)
		}
		key := [3]string{c.InstanceName, c.Source, names[i]}
		alike[key] = append(alike[key], i)
	}
	for _, rows := range alike {
		for _, by := range []func(wire.MetadataCaller) string{
			func(c wire.MetadataCaller) string { return c.PathGroup },
			func(c wire.MetadataCaller) string { return c.UserAgent },
			func(c wire.MetadataCaller) string { return common(c, "process") },
			func(c wire.MetadataCaller) string { return cmp.Or(common(c, "container"), common(c, "unit")) },
		} {
			first := by(v.callers[rows[0]])
			if !slices.ContainsFunc(rows, func(i int) bool { return by(v.callers[i]) != first }) {
				continue
			}
			for _, i := range rows {
				names[i] += " [" + dash(by(v.callers[i])) + "]"
			}
		}
	}
	return names
}

func (v callersView) wideRows(row func(...any)) {
	onHost := slices.ContainsFunc(v.callers, func(c wire.MetadataCaller) bool { return c.Process != nil })
	head := []any{"INSTANCE", "SOURCE", "V1 ANSWERED", "V1 REFUSED", "V1 FAILED", "FIRST V1", "LAST V1", "TOKENS", "V2 ANSWERED", "V2 FAILED", "LAST SEEN", "PERIOD", "PATHS", "USER AGENT"}
	if onHost {
		head = append(head, "PROCESS", "USER", "UNIT OR CONTAINER", "PACKAGE", "COMMAND")
	}
	row(head...)
	for _, c := range v.callers {
		n := c.Counts
		cells := []any{c.InstanceName, c.Source, n[openimds.MetricNoToken], n[openimds.MetricNoTokenRejected], n[openimds.CountNoTokenFailed],
			whenever(c.FirstWithoutToken), whenever(c.LastWithoutToken), n[openimds.MetricTokenRequests], n[openimds.MetricWithToken],
			n[openimds.CountWithTokenFailed], when(c.LastSeen), dash(c.Period.Text), c.PathGroup, dash(c.UserAgent)}
		switch p := c.Process; {
		case onHost && p != nil:
			cells = append(cells, dash(p.Executable), dash(p.User), dash(cmp.Or(p.Container, p.Unit)), dash(p.Package), dash(p.Command()))
		case onHost:
			cells = append(cells, "unknown", "-", "-", "-", "-")
		}
		row(cells...)
	}
}

// hint says in a line that tokens did not reach a caller, who then looks like one of version 1 and is
// none. It is empty if the last one was lost before since, or if the hop limit was raised far enough.
func hint(c wire.MetadataCaller, since time.Time) string {
	u := c.TokenUndelivered
	if u == nil || u.Time.Before(since) {
		return ""
	}
	what := fmt.Sprintf("token answer was not acknowledged, but hop limit %d is enough for this caller", u.HopLimit)
	switch {
	case u.NeededHopLimit == 0 && u.CurrentHopLimit > u.HopLimit, u.NeededHopLimit > u.HopLimit && u.CurrentHopLimit >= u.NeededHopLimit:
		return ""
	case u.NeededHopLimit == 0:
		what = fmt.Sprintf("token answer did not arrive: hop limit %d may be too small for this caller", u.HopLimit)
	case u.NeededHopLimit > u.HopLimit:
		what = fmt.Sprintf("token answer did not arrive: hop limit %d is too small for this caller, which needs at least %d", u.HopLimit, u.NeededHopLimit)
	}
	who := strings.TrimSpace(c.Source + " " + c.UserAgent)
	return fmt.Sprintf("%s, %s: %s (%d in all, the last at %s)", c.InstanceName, who, what, c.Counts[openimds.MetricTokenUndelivered], when(u.Time))
}

// ofV1 says whether a caller came without a token at or after a time, or a token did not reach it.
func ofV1(c wire.MetadataCaller, since time.Time) bool {
	if u := c.TokenUndelivered; u != nil && !u.Time.Before(since) {
		return true
	}
	return openimds.V1Calls(c.Counts) > 0
}

// toDo are the lines below the table: whose tokens do not arrive, and what there is to do about whom.
func (v callersView) toDo() []string {
	var lines []string
	hinted := map[string]bool{}
	who := func(c wire.MetadataCaller) string {
		name := strings.TrimSpace(c.Source + " " + c.UserAgent)
		if c.Process != nil {
			name = c.Process.Command()
		}
		return c.InstanceName + ", " + name
	}
	for _, c := range v.callers {
		if hint := hint(c, v.since); hint != "" {
			lines, hinted[who(c)] = append(lines, hint), true
		}
	}
	for _, c := range v.callers {
		for _, a := range c.Advice {
			line := who(c) + ": " + a.Text
			if (a.Code != advice.RaiseHopLimit || !hinted[who(c)]) && !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// groupings are what callers can be summed up by.
func groupings() []string { return []string{"process", "unit", "container", "agent", "instance"} }

// callerGroup is what callers with something in common did together.
type callerGroup struct {
	By string `json:"by"`
	// Name is what they have in common; empty: that it is not known, or that there is none.
	Name      string           `json:"name"`
	Callers   int              `json:"callers"`
	Instances []string         `json:"instances"`
	Counts    map[string]int64 `json:"counts"`
	FirstSeen awsjson.Epoch    `json:"firstSeen"`
	LastSeen  awsjson.Epoch    `json:"lastSeen"`
	LastV1    *awsjson.Epoch   `json:"lastWithoutToken,omitempty"`
}

// common is what a caller has in common with others.
func common(c wire.MetadataCaller, by string) string {
	p := openimds.CallerProcess{}
	if c.Process != nil {
		p = *c.Process
	}
	switch by {
	case "process":
		return p.Executable
	case "unit":
		return p.Unit
	case "container":
		return p.Container
	case "instance":
		return c.InstanceName
	}
	if c.Agent != nil {
		return strings.TrimSpace(c.Agent.Tool + " " + c.Agent.Version)
	}
	return c.UserAgent
}

// groups sums callers up: those of version 1 first, then by name.
func (v callersView) groups() []callerGroup {
	groups := []callerGroup{}
	for _, c := range v.callers {
		name := common(c, v.by)
		at := slices.IndexFunc(groups, func(g callerGroup) bool { return g.Name == name })
		if at < 0 {
			at = len(groups)
			groups = append(groups, callerGroup{By: v.by, Name: name, Counts: map[string]int64{}, FirstSeen: c.FirstSeen, LastSeen: c.LastSeen})
		}
		groups[at].add(c)
	}
	slices.SortStableFunc(groups, func(a, b callerGroup) int {
		return cmp.Or(cmp.Compare(openimds.V1Calls(b.Counts), openimds.V1Calls(a.Counts)), cmp.Compare(a.Name, b.Name))
	})
	return groups
}

func (g *callerGroup) add(c wire.MetadataCaller) {
	g.Callers++
	if !slices.Contains(g.Instances, c.InstanceName) {
		g.Instances = append(g.Instances, c.InstanceName)
	}
	for name, n := range c.Counts {
		g.Counts[name] += n
	}
	if c.FirstSeen.Before(g.FirstSeen.Time) {
		g.FirstSeen = c.FirstSeen
	}
	if c.LastSeen.After(g.LastSeen.Time) {
		g.LastSeen = c.LastSeen
	}
	if last := c.LastWithoutToken; last != nil && (g.LastV1 == nil || last.After(g.LastV1.Time)) {
		g.LastV1 = last
	}
}

func groupRows(by string, groups []callerGroup, row func(...any)) {
	row(strings.ToUpper(by), "CALLERS", "INSTANCES", "V1 ANSWERED", "V1 REFUSED", "V1 FAILED", "LAST V1", "TOKENS", "V2 ANSWERED", "V2 FAILED", "LAST SEEN")
	for _, g := range groups {
		n, name := g.Counts, dash(g.Name)
		row(name, g.Callers, len(g.Instances), n[openimds.MetricNoToken], n[openimds.MetricNoTokenRejected], n[openimds.CountNoTokenFailed], whenever(g.LastV1),
			n[openimds.MetricTokenRequests], n[openimds.MetricWithToken], n[openimds.CountWithTokenFailed], when(g.LastSeen))
	}
}
