package trace

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds/processes"
)

// Row is what one caller has called: processes of one executable, user, unit and container are one caller.
type Row struct {
	Service Service `json:"service"`
	// Example is the caller's process that called last by IMDSv1; else, the one that called last. So the command line beside
	// the calls by IMDSv1 is one that made such a call.
	Example processes.Process `json:"process"`
	// For are the clients of systemd-imdsd that the last call was for.
	For       []processes.Process `json:"for,omitempty"`
	UserAgent string              `json:"userAgent,omitempty"` // of the example's calls, the last that had one
	Groups    []string            `json:"groups,omitempty"`    // parts of the tree, at most 16
	V1        uint64              `json:"v1"`
	V1Refused uint64              `json:"v1Refused"` // of V1: answered with 401 or 403
	V2        uint64              `json:"v2"`
	Tokens    uint64              `json:"tokens"`
	Other     uint64              `json:"other"`   // of services without versions
	Unknown   uint64              `json:"unknown"` // calls of which not enough was seen
	Forwarded uint64              `json:"forwarded"`
	// NoToken are requests for a token that no answer was seen to: the hop limit may be too small.
	NoToken uint64    `json:"tokensUnanswered"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	LastV1  time.Time `json:"lastV1,omitzero"`

	shown time.Time // when the call of the example was
}

// Total is how many calls a row has.
func (r *Row) Total() uint64 { return r.V1 + r.V2 + r.Tokens + r.Other + r.Unknown }

// Summary adds up calls by caller. It is safe for use by many goroutines, and bounded: calls of callers for whom
// there is no more room are added up without names.
type Summary struct {
	mu     sync.Mutex
	most   int
	rows   map[rowKey]*Row
	beyond Row
	gaps   Gap
	since  time.Time
}

type rowKey struct {
	service                         Service
	comm, exe, unit, container, pod string
	uid                             int
}

// NewSummary makes one for at most that many callers.
func NewSummary(most int) *Summary {
	return &Summary{most: most, rows: map[rowKey]*Row{}, since: time.Now()}
}

// mostGroups is how many parts of the tree a row names.
const mostGroups = 16

// Add adds a call.
func (s *Summary) Add(c Call) {
	p := c.Process
	key := rowKey{service: c.Service, comm: p.Comm, exe: p.Exe, unit: p.Unit, uid: p.UID}
	if key.exe != "" {
		key.comm = "" // threads of one program have many names
	}
	if p.Container != nil {
		key.container, key.pod = p.Container.ID, p.Container.Pod
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	row := s.rows[key]
	switch {
	case row == nil && len(s.rows) >= s.most:
		row = &s.beyond
	case row == nil:
		row = &Row{Service: c.Service}
		s.rows[key] = row
	}
	if row.First.IsZero() || c.Time.Before(row.First) {
		row.First = c.Time
	}
	if !c.Time.Before(row.Last) {
		row.Last = c.Time
	}
	if later := !c.Time.Before(row.shown); row != &s.beyond && (c.Version == V1 && (row.V1 == 0 || later) || row.V1 == 0 && later) {
		row.Example, row.For, row.shown = p, c.For, c.Time
		row.UserAgent = cmp.Or(c.UserAgent, row.UserAgent)
	}
	row.count(c)
}

func (r *Row) count(c Call) {
	switch c.Version {
	case V1:
		r.V1++
		if c.Status == 401 || c.Status == 403 {
			r.V1Refused++
		}
		if c.Time.After(r.LastV1) {
			r.LastV1 = c.Time
		}
	case V2:
		r.V2++
	case Token:
		r.Tokens++
		if c.Status == 0 {
			r.NoToken++
		}
	case None:
		r.Other++
	default:
		r.Unknown++
	}
	if c.Forwarded {
		r.Forwarded++
	}
	if c.Group != "" && len(r.Groups) < mostGroups && !slices.Contains(r.Groups, c.Group) {
		r.Groups = append(r.Groups, c.Group)
		slices.Sort(r.Groups)
	}
}

// Miss adds what was not seen.
func (s *Summary) Miss(g Gap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps.Connections += g.Connections
	s.gaps.Requests += g.Requests
	s.gaps.Answers += g.Answers
	s.gaps.Calls += g.Calls
	s.gaps.Sampled += g.Sampled
	s.gaps.SampledOneOf, s.gaps.Time = g.SampledOneOf, g.Time
}

// Report is a summary at one time.
type Report struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Callers are sorted: who calls by IMDSv1 most comes first.
	Callers []Row `json:"callers"`
	// Beyond has the calls of callers for whom there was no more room; its process is nobody's.
	Beyond *Row `json:"beyond,omitempty"`
	// Missed is what was not seen. Where it is not null, callers may be missing.
	Missed *Gap `json:"missed"`
}

// Report returns what was added so far.
func (s *Summary) Report(now time.Time) Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{Since: s.since, Until: now, Callers: make([]Row, 0, len(s.rows))}
	for _, row := range s.rows {
		one := *row
		one.Groups = slices.Clone(row.Groups)
		r.Callers = append(r.Callers, one)
	}
	slices.SortFunc(r.Callers, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.V1, a.V1), cmp.Compare(b.Total(), a.Total()), strings.Compare(a.Who(), b.Who()), a.First.Compare(b.First))
	})
	if s.beyond.Total() > 0 {
		beyond := s.beyond
		beyond.Example = nobodys()
		r.Beyond = &beyond
	}
	if !s.gaps.empty() {
		gaps := s.gaps
		r.Missed = &gaps
	}
	return r
}

func nobodys() processes.Process {
	return processes.Process{UID: -1, Unknown: []string{"comm", "exe", "argv", "uid", "cgroup", "unit", "container", "package", "parents"}}
}

// Who is a short name of a caller: that of its executable; "unknown" where that is so.
func (r *Row) Who() string { return Name(r.Example) }

// Name is a short name of a process: that of its executable, else the kernel's; "unknown": there is none.
func Name(p processes.Process) string {
	exe := strings.TrimSuffix(p.Exe, " (deleted)")
	if exe != "" && path.Base(exe) != "exe" {
		return path.Base(exe)
	}
	return cmp.Or(p.Comm, "unknown")
}
