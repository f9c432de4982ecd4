package imdstest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The versions of the protocol that a request can speak, see [Request.Version].
const (
	V1 = "v1"
	V2 = "v2"
)

// Request is one that was answered, or whose connection was reset on purpose.
type Request struct {
	Time   time.Time // of the answer
	Method string    // as sent; empty: none that could be read
	Path   string    // with the query, as it was sent
	// Version is [V2] of requests with a session token or for one, [V1] of those that would need one
	// and had none, and "none" of all others, whatever became of them.
	Version   string
	Status    int // 0: the connection was reset on purpose
	UserAgent string
}

// String is the request in one line.
func (r Request) String() string {
	return fmt.Sprintf("%s %s %d %s %q", r.Method, r.Path, r.Status, r.Version, r.UserAgent)
}

// maxUntaken is how many requests may come before the goroutine that takes note of them gets its turn.
const maxUntaken = 100_000

// observe takes note of requests until the context ends.
func (s *Server) observe(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.observer.More():
			s.mu.Lock()
			s.takeNote()
			s.mu.Unlock()
		}
	}
}

// takeNote takes note of all requests so far: each is seen before its answer leaves. s.mu is held.
func (s *Server) takeNote() {
	for _, o := range s.observer.Take() {
		s.requests = append(s.requests, Request{
			Time: o.Time, Method: o.Method, Path: o.Target, Version: o.Call.Version(), Status: o.Status, UserAgent: o.UserAgent,
		})
	}
}

// Requests returns all requests so far, in the order of their answers.
func (s *Server) Requests() []Request {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeNote()
	if lost := s.observer.Lost(); len(lost) > 0 {
		s.t.Fatalf("imdstest: more than %d requests came at once, and some were not taken note of", maxUntaken)
	}
	return slices.Clone(s.requests)
}

// ResetRequests forgets the requests so far.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeNote()
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
