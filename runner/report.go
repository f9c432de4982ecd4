package runner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"sync"

	"github.com/openimds/openimds/handover"
	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/sandbox"
)

// Sighting is what one process asked for, how, and how often.
type Sighting struct {
	Version   string   `json:"version"` // "v1", "v2", or "none" of what says nothing of it
	Method    string   `json:"method"`
	Path      string   `json:"path"`
	Status    int      `json:"status"`
	Count     int      `json:"count"`
	UserAgent string   `json:"userAgent"`
	PID       int      `json:"processId,omitempty"`
	Args      []string `json:"arguments,omitempty"` // of the process; none: it was not found
}

// Report is who called what.
type Report []Sighting

// V1 are the rows of IMDSv1.
func (r Report) V1() Report {
	return slices.DeleteFunc(slices.Clone(r), func(s Sighting) bool { return s.Version != "v1" })
}

// maxSightings bounds what is kept of a command that never asks the same twice.
const maxSightings = 10_000

// sightings gather who called. A process is looked for when its connection arrives, while it waits for its
// answer: when the request is seen, it may have ended.
type sightings struct {
	wanted  bool
	token   *regexp.Regexp // of session tokens: they work until they end, so no report holds one
	started chan struct{}  // closed when command is there
	command interface {
		Caller(netip.AddrPort) (sandbox.Process, bool)
	}

	mu sync.Mutex
	// callers are the processes of connections whose request was not seen yet.
	callers map[netip.AddrPort]sandbox.Process
	rows    map[string]*Sighting
	lost    map[string]int // by version: requests for which there is no row
}

// maxCallers bounds the processes that are kept of connections that ask for nothing.
const maxCallers = 10_000

func newSightings(wanted bool) *sightings {
	return &sightings{wanted: wanted, token: regexp.MustCompile(`AQAEA[A-Za-z0-9_-]{49}==`), started: make(chan struct{}), callers: map[netip.AddrPort]sandbox.Process{}, rows: map[string]*Sighting{}, lost: map[string]int{}}
}

// by says whose processes call.
func (s *sightings) by(c *sandbox.Command) {
	s.command = c
	close(s.started)
}

// arrived finds the process that has made a connection.
func (s *sightings) arrived(source netip.AddrPort) {
	source = plain(source)
	<-s.started
	p, found := s.command.Caller(source)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.callers, source) // an earlier one with the same port
	if !found {
		return
	}
	if len(s.callers) >= maxCallers {
		clear(s.callers)
	}
	s.callers[source] = p
}

// plain is an address as it stands in what is seen of requests.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// see takes note of a request, and of the process that made its connection.
func (s *sightings) see(seen handover.Seen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.callers[seen.Source]
	delete(s.callers, seen.Source) // a connection has one request
	r := seen.Request
	row := Sighting{Version: r.Version, Method: r.Method, Path: r.Path, Status: r.Status, UserAgent: r.UserAgent, PID: p.PID}
	for _, arg := range p.Args {
		row.Args = append(row.Args, s.token.ReplaceAllString(arg, "[token]"))
	}
	key := fmt.Sprintf("%d %d %s %s %q %q", row.PID, row.Status, row.Version, row.Method, row.Path, row.UserAgent)
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

// miss counts requests that nobody could tell of, by version.
func (s *sightings) miss(lost map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for version, n := range lost {
		s.lost[version] += n
	}
}

// all returns the rows: IMDSv1 first, then by process and path.
func (s *sightings) all() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(Report, 0, len(s.rows)+len(s.lost))
	for _, row := range s.rows {
		out = append(out, *row)
	}
	for version, n := range s.lost { // so that --fail-on-v1 does not depend on who asked first
		out = append(out, Sighting{Version: version, Path: "(further ones)", Count: n})
	}
	slices.SortFunc(out, func(a, b Sighting) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.PID, b.PID), cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Method, b.Method), cmp.Compare(a.Status, b.Status), cmp.Compare(a.UserAgent, b.UserAgent))
	})
	return out
}

func order(s Sighting) int { return slices.Index([]string{"v1", "v2", "none"}, s.Version) }

// ReportError says that Config.ReportFile cannot be written.
type ReportError struct{ error }

// Unwrap returns why.
func (e ReportError) Unwrap() error { return e.error }

// clearReport takes an earlier report away before there is anything to report, and finds out whether the
// new one can be written: not at the end of a long command. Without a name there is none.
func clearReport(name string) error {
	if name == "" {
		return nil
	}
	if err := safefile.Clear(name); err != nil {
		return ReportError{err}
	}
	return nil
}

// write writes what is told at the end as JSON, so that a report that may have holes is never read as a whole
// one. Command lines can hold secrets, so the file is its user's only.
func (e Ended) write(name string) error {
	told := struct {
		Requests Report `json:"requests"`
		Unknown  string `json:"unknown,omitempty"`
	}{Requests: e.Report}
	if e.Unknown != nil {
		told.Unknown = e.Unknown.Error()
	}
	text, err := json.MarshalIndent(told, "", "  ")
	if err == nil {
		err = safefile.Write(name, append(printable.Text(text), '\n'), 0o600)
	}
	if err != nil {
		return ReportError{err}
	}
	return nil
}
