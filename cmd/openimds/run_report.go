package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/sandbox"
)

// sighting is what one process asked for, how, and how often.
type sighting struct {
	Version   string   `json:"version"` // "v1", "v2", or "none" of what says nothing of it
	Method    string   `json:"method"`
	Path      string   `json:"path"`
	Status    int      `json:"status"`
	Count     int      `json:"count"`
	UserAgent string   `json:"userAgent"`
	PID       int      `json:"processId,omitempty"`
	Args      []string `json:"arguments,omitempty"` // of the process; none: it was not found
}

// maxSightings bounds what is kept of a command that never asks the same twice.
const maxSightings = 10_000

// sightings gather who called. Each request waits until its process is found: a moment later that may
// have ended.
type sightings struct {
	wanted  bool
	token   *regexp.Regexp // of session tokens: they work until they end, so no report holds one
	started chan struct{}  // closed when command is there
	command interface {
		Caller(netip.AddrPort) (sandbox.Process, bool)
	}

	mu   sync.Mutex
	rows map[string]*sighting
	lost map[string]int // by version: requests for which there was no row any more
}

func newSightings(wanted bool) *sightings {
	return &sightings{wanted: wanted, token: regexp.MustCompile(`AQAEA[A-Za-z0-9_-]{49}==`), started: make(chan struct{}), rows: map[string]*sighting{}, lost: map[string]int{}}
}

// by says whose processes call.
func (s *sightings) by(c *sandbox.Command) {
	s.command = c
	close(s.started)
}

// observe returns what is to be told of requests; nil: nothing.
func (s *sightings) observe() func(imds.Observation) {
	if !s.wanted {
		return nil
	}
	return func(o imds.Observation) { s.see(o.Source, sightingOf(o)) }
}

// see takes note of a request, and of the process that made it.
func (s *sightings) see(source netip.AddrPort, row sighting) {
	<-s.started
	p, _ := s.command.Caller(source)
	row.PID = p.PID
	for _, arg := range p.Args {
		row.Args = append(row.Args, s.token.ReplaceAllString(arg, "[token]"))
	}
	key := fmt.Sprintf("%d %d %s %s %q %q", row.PID, row.Status, row.Version, row.Method, row.Path, row.UserAgent)
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.rows[key]
	switch {
	case known != nil:
		known.Count++
	case len(s.rows) < maxSightings:
		row.Count = 1
		s.rows[key] = &row
	default:
		s.lost[row.Version]++
	}
}

// all returns the rows: IMDSv1 first, then by process and path.
func (s *sightings) all() []sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]sighting, 0, len(s.rows)+len(s.lost))
	for _, row := range s.rows {
		out = append(out, *row)
	}
	for version, n := range s.lost { // so that --fail-on-v1 does not depend on who asked first
		out = append(out, sighting{Version: version, Path: "(further ones)", Count: n})
	}
	slices.SortFunc(out, func(a, b sighting) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status), cmp.Compare(a.UserAgent, b.UserAgent))
	})
	return out
}

func order(s sighting) int { return slices.Index([]string{"v1", "v2", "none"}, s.Version) }

// showReport prints rows for people.
func showReport(w io.Writer, rows []sighting) error {
	return printTable(w, func(row func(...any)) {
		row("IMDS", "COUNT", "STATUS", "REQUEST", "PROCESS", "USER AGENT")
		for _, r := range rows {
			process := "?"
			if r.PID != 0 {
				process = fmt.Sprint(r.PID)
				if len(r.Args) > 0 {
					process += " " + shorten(strings.Join(r.Args, " "), 80)
				}
			}
			row(r.Version, r.Count, r.Status, dash(r.Method)+" "+shorten(r.Path, 120), process, dash(shorten(r.UserAgent, 80)))
		}
	})
}

// shorten cuts what is longer than a table can show.
func shorten(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

// clearReport takes an earlier report away before there is anything to report, and finds out whether the
// new one can be written: not at the end of a long command. Without a name there is none.
func clearReport(name string) error {
	if name == "" {
		return nil
	}
	if err := safefile.Clear(name); err != nil {
		return fmt.Errorf("--report-file: %w", err)
	}
	return nil
}

// writeReport writes rows as JSON. Command lines can hold secrets, so the file is its user's only.
func writeReport(name string, rows []sighting) error {
	text, err := json.MarshalIndent(map[string]any{"requests": rows}, "", "  ")
	if err == nil {
		err = safefile.Write(name, append(printable.Text(text), '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("--report-file: %w", err)
	}
	return nil
}
