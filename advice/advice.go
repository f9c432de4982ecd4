// Package advice tells what the callers of a metadata service are, by what they say of themselves or what
// their processes are, and what takes each of them from IMDSv1 to IMDSv2. It is a table of facts, each with
// its source, and knows neither requests nor instances: whoever has seen a caller, at the service, on a
// host or in an instance, asks it alike.
package advice

import "strconv"

// Code says what kind of thing there is to do. Programs go by it and by an [Advice]'s arguments; the text
// may change.
type Code string

const (
	// RaiseHopLimit: tokens do not arrive, so the caller falls back to IMDSv1 and needs no new software.
	// Arguments: current, and needed unless that is not known.
	RaiseHopLimit Code = "RaiseHopLimit"
	// StopForwarding: a proxy adds X-Forwarded-For, and no token goes through a proxy.
	StopForwarding Code = "StopForwarding"
	// Upgrade: an earlier version than the first that knows IMDSv2. Arguments: tool, version, minimum.
	Upgrade Code = "Upgrade"
	// CheckVersion: the tool knows IMDSv2 from a version on, and does not say which it is. Arguments: tool, minimum.
	CheckVersion Code = "CheckVersion"
	// Replace: no version of it knows IMDSv2. Arguments: tool, replacement.
	Replace Code = "Replace"
	// Rewrite: a command line or a script asks without a token. Arguments: tool, command: the lines that do it with one.
	Rewrite Code = "Rewrite"
	// FindFallback: this version knows IMDSv2 and yet called without a token. Arguments: tool, version.
	FindFallback Code = "FindFallback"
	// ChangeProgram: a library that asks for whatever it is told; the program that uses it has to ask for a
	// token. Arguments: tool.
	ChangeProgram Code = "ChangeProgram"
	// FindProgram: what it is is not known, or no more than its file. Without arguments.
	FindProgram Code = "FindProgram"
)

// Advice is one thing to do about a caller.
type Advice struct {
	Code Code              `json:"code"`
	Args map[string]string `json:"args,omitempty"`
	// Text is one line in English, fit to be printed beside the caller.
	Text string `json:"text"`
	// Source is where the fact can be looked up that it rests on; empty: it is of the protocol itself.
	Source string `json:"source,omitempty"`
}

// Lost is an answer with a token that did not arrive.
type Lost struct {
	// HopLimit is what it left with, Needed the least that reaches the caller (0: not known), and Current
	// that of the instance now.
	HopLimit, Needed, Current int
}

// raised says whether the limit was raised since, as far as is known to be enough.
func (l Lost) raised() bool {
	if l.Needed == 0 {
		return l.Current > l.HopLimit
	}
	return l.Current >= l.Needed
}

// Seen is what is known of a caller. The more there is of it, the more exact is the advice.
type Seen struct {
	UserAgent string
	// Executable is the path of the process's program and Arguments its command line, without secrets;
	// empty where that is not known, as of virtual machines.
	Executable string
	Arguments  []string
	// Place is what the process runs in, its user, unit and container, in any spelling that tells them apart.
	Place string
	// WithoutToken says whether it came without a token, whatever became of that.
	WithoutToken bool
	// Lost is the latest answer with a token that did not reach it; nil: none.
	Lost *Lost
	// Forwarded says whether it was refused a token because of X-Forwarded-For.
	Forwarded bool
	// Unsure says that Lost and Forwarded are of what is [Perhaps] another program.
	Unsure bool
}

// For tells what there is to do about a caller, what comes first first. Nothing: it is done with IMDSv1.
func For(s Seen) []Advice {
	var all []Advice
	if s.Lost != nil && !s.Lost.raised() && s.Lost.Needed != 0 && s.Lost.Needed <= s.Lost.HopLimit {
		// The limit was enough, so something else is in the way, which nobody can tell from here.
	} else if s.Lost != nil && !s.Lost.raised() {
		all = append(all, raiseHopLimit(*s.Lost))
	}
	if s.Forwarded {
		all = append(all, Advice{
			Code: StopForwarding,
			Text: "stop the proxy that adds X-Forwarded-For, or except 169.254.169.254 and fd00:ec2::254 from it (NO_PROXY): a request for a token that has that header is refused with 403",
		})
	}
	if len(all) > 0 && s.Unsure {
		for i := range all {
			all[i].Text = "if it is this that asks for tokens there, " + all[i].Text
		}
		return append(all, aboutSoftware(s))
	}
	if len(all) > 0 || !s.WithoutToken {
		return all // whose tokens are lost comes without one for want of them
	}
	return []Advice{aboutSoftware(s)}
}

func raiseHopLimit(l Lost) Advice {
	a := Advice{Code: RaiseHopLimit, Args: map[string]string{"current": strconv.Itoa(l.Current)}}
	if l.Needed == 0 {
		a.Text = "raise the hop limit above " + strconv.Itoa(l.Current) + ": answers with a token do not reach it"
		return a
	}
	a.Args["needed"] = strconv.Itoa(l.Needed)
	a.Text = "raise the hop limit to " + strconv.Itoa(l.Needed) + ": with " + strconv.Itoa(l.Current) + ", answers with a token do not reach it"
	return a
}

// aboutSoftware is for a caller that could have a token and came without.
func aboutSoftware(s Seen) Advice {
	agent := Parse(s.UserAgent)
	t := agent.tool
	// A library says less than the program that uses it, if that is known by its file.
	if by := toolOf(s.Executable, s.Arguments); by != nil && (t == nil || t.kind == library) {
		t, agent.Version = by, ""
	}
	if t == nil && s.Executable != "" {
		return Advice{Code: FindProgram, Text: "update this program, or have it ask for a token first: whether a version of it does is not known here"}
	}
	if t == nil {
		return Advice{Code: FindProgram, Text: "find the program that calls (openimds trace names it where it runs), and update it or have it ask for a token: what it says of itself is not known here"}
	}
	switch t.kind {
	case command:
		return rewrite(t, s.Arguments)
	case never:
		return Advice{Code: Replace, Args: map[string]string{"tool": t.name, "replacement": t.instead}, Source: t.source,
			Text: "replace " + t.name + " by " + t.instead + ": no version of it knows IMDSv2"}
	case library:
		return Advice{Code: ChangeProgram, Args: map[string]string{"tool": t.name}, Source: t.source,
			Text: "have the program that uses " + t.name + " ask for a token first: the library fetches what it is told" + t.also}
	case always:
		return findFallback(t, agent.Version)
	}
	args := map[string]string{"tool": t.name, "minimum": t.since}
	earlier, known := before(agent.Version, t.since)
	switch {
	case !known || t.otherNumbers:
		return Advice{Code: CheckVersion, Args: args, Source: t.source,
			Text: "make sure that " + t.name + " is of version " + t.since + " or later, the first that knows IMDSv2" + t.also}
	case earlier:
		args["version"] = agent.Version
		return Advice{Code: Upgrade, Args: args, Source: t.source,
			Text: "update " + t.name + " " + agent.Version + " to " + t.since + " or later, the first version that knows IMDSv2" + t.also}
	}
	return findFallback(t, agent.Version)
}

func findFallback(t *tool, version string) Advice {
	a := Advice{Code: FindFallback, Args: map[string]string{"tool": t.name}, Source: t.source}
	what := t.name
	if version != "" {
		a.Args["version"] = version
		what += " " + version
	}
	a.Text = what + " knows IMDSv2 and yet called without a token: its request for one failed or was switched off; look for a proxy, a firewall, too short a timeout, and its own setting" + t.also
	return a
}
