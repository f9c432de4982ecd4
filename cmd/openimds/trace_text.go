package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/openimds/openimds/processes"
	"github.com/openimds/openimds/trace"
)

// callLine is a call on one line.
func callLine(c trace.Call) string {
	what := string(c.Version)
	if c.Service != trace.Metadata {
		what = string(c.Service)
	}
	status := "-"
	if c.Status != 0 {
		status = strconv.Itoa(c.Status)
	}
	parts := []string{
		c.Time.UTC().Format(time.DateTime), fmt.Sprintf("%-8s", what), dash(c.Method), dash(cmp.Or(c.Path, c.Group)), status, " " + processText(c.Process),
	}
	line := strings.Join(parts, " ")
	for i := range c.For {
		line += "; for " + processText(c.For[i])
	}
	if c.UserAgent != "" {
		line += "; user agent " + strconv.Quote(c.UserAgent)
	}
	if c.Forwarded {
		line += "; X-Forwarded-For: came through a proxy"
	}
	if c.HopsLeft != 0 {
		line += fmt.Sprintf("; token arrived with %s left", counted(c.HopsLeft, "hop"))
	}
	if c.Remark != "" {
		line += "; " + c.Remark
	}
	return line
}

// processText is a process in a few words: its name and number, whose it is and where, its command line.
func processText(p processes.Process) string {
	if p.PID == 0 {
		if p.Cgroup == "" {
			return "unknown process"
		}
		return "unknown process in " + cmp.Or(placeOfProcess(p), p.Cgroup)
	}
	words := []string{fmt.Sprintf("%s[%d]", trace.Name(p), p.PID)}
	if user := userOf(p); user != "" {
		words = append(words, "user "+user)
	}
	for _, word := range []string{placeOfProcess(p), p.Package} {
		if word != "" {
			words = append(words, word)
		}
	}
	if len(p.Parents) > 0 {
		words = append(words, fmt.Sprintf("child of %s[%d]", p.Parents[0].Comm, p.Parents[0].PID))
	}
	text := strings.Join(words, ", ")
	if command := commandLine(p); command != "" {
		text += ": " + command
	}
	return text
}

func userOf(p processes.Process) string {
	switch {
	case p.User != "":
		return p.User
	case p.UID >= 0:
		return strconv.Itoa(p.UID)
	}
	return ""
}

// placeOfProcess is a process's pod, container or unit.
func placeOfProcess(p processes.Process) string {
	c := p.Container
	if c == nil {
		return p.Unit
	}
	text := strings.TrimSpace(c.Engine + " container " + cmp.Or(c.Name, c.ID[:min(len(c.ID), 12)]))
	if c.Pod != "" {
		text = "pod " + c.Pod + ", " + text
	}
	return text
}

// commandLine is an argv as one would type it, cut where it is long.
func commandLine(p processes.Process) string {
	words := make([]string, len(p.Argv))
	for i, w := range p.Argv {
		if w == "" || strings.ContainsAny(w, " \t\n'\"\\$&;|<>()*?#`") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		words[i] = w
	}
	line := strings.Join(words, " ")
	if len(line) > 300 {
		line = strings.ToValidUTF8(line[:300], "") + "…"
	}
	return line
}

func pathsOf(r trace.Row) string {
	if r.Service != trace.Metadata {
		return string(r.Service)
	}
	return strings.Join(r.Groups, ", ")
}

// gapLine says what was not seen.
func gapLine(g trace.Gap) string {
	var parts []string
	for _, part := range []struct {
		n    uint64
		what string
	}{
		{g.Connections, "connection"}, {g.Requests, "packet with a request"}, {g.Answers, "answer"}, {g.Calls, "call"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d × %s lost", part.n, part.what))
		}
	}
	if g.Sampled > 0 {
		parts = append(parts, fmt.Sprintf("%d × connection not looked at (one of %d is, to keep within --max-cpu)", g.Sampled, max(g.SampledOneOf, 1)))
	}
	return "not seen: " + strings.Join(parts, ", ") + "; who made them is unknown"
}

// showHints says below a summary what its numbers do not, and when nobody calling is no proof.
func (t *tracing) showHints(r trace.Report) error {
	lines := []string{fmt.Sprintf("from %s to %s", r.Since.UTC().Format(time.DateTime), r.Until.UTC().Format(time.DateTime))}
	for _, c := range r.Callers {
		who := c.Who()
		if place := placeOfProcess(c.Example); place != "" {
			who += " (" + place + ")"
		}
		if c.NoToken > 0 {
			lines = append(lines, fmt.Sprintf("%s: %d of %d requests for a token got no answer; the hop limit may be too small", who, c.NoToken, c.Tokens))
		}
		if c.Forwarded > 0 {
			lines = append(lines, fmt.Sprintf("%s: %d calls had X-Forwarded-For; with it no token is given", who, c.Forwarded))
		}
	}
	if r.Beyond != nil {
		lines = append(lines, fmt.Sprintf("%d further calls of callers for whom there was no room: %d by v1", r.Beyond.Total(), r.Beyond.V1))
	}
	if r.Missed != nil {
		lines = append(lines, gapLine(*r.Missed))
	}
	for _, line := range lines {
		if err := say(t.out, "%s\n", line); err != nil {
			return err
		}
	}
	return nil
}

// countLine says how many calls a trace has seen.
func countLine(r trace.Report) string {
	total, v1 := uint64(0), uint64(0)
	for _, c := range r.Callers {
		total, v1 = total+c.Total(), v1+c.V1
	}
	if r.Beyond != nil {
		total, v1 = total+r.Beyond.Total(), v1+r.Beyond.V1
	}
	return fmt.Sprintf("%s seen, %d by v1", counted(int(total), "call"), v1)
}
