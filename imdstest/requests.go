package imdstest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openimds/openimds/imds"
)

// The versions of the protocol that a request can speak, see [Request.Version].
const (
	V1 = "v1"
	V2 = "v2"
)

// Request is one that was answered.
type Request struct {
	Time   time.Time // of the answer
	Method string    // GET, HEAD, PUT or OPTIONS; empty: another
	Path   string    // with the query, as it was sent
	// Version is [V2] of requests with a session token or for one, [V1] of those that would need one
	// and had none, and "none" of all others.
	Version   string
	Status    int
	UserAgent string
}

// String is the request in one line.
func (r Request) String() string {
	return fmt.Sprintf("%s %s %d %s %q", r.Method, r.Path, r.Status, r.Version, r.UserAgent)
}

// observe is told of a request before its answer leaves.
func (s *Server) observe(o imds.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, Request{
		Time: time.Now(), Method: o.Method, Path: o.Target, Version: o.Call.Version(), Status: o.Status, UserAgent: o.UserAgent,
	})
}

// Requests returns all requests so far, in the order of their answers.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// ResetRequests forgets the requests so far.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// RequireNoV1 ends the test, with a list of them, if there were requests without a session token:
// the program would not work where tokens are required.
func (s *Server) RequireNoV1(t TB) {
	t.Helper()
	var without []string
	for _, r := range s.Requests() {
		if r.Version == V1 {
			without = append(without, "\n\t"+r.String())
		}
	}
	if len(without) > 0 {
		t.Fatalf("imdstest: requests without a session token (IMDSv1): %d%s", len(without), strings.Join(without, ""))
	}
}
