package front

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Why a body is not read.
var (
	// ErrTooLarge: it is longer than any may be.
	ErrTooLarge = errors.New("the body is too large")
	// ErrNoLength: nobody says how long it is.
	ErrNoLength = errors.New("the body's length is not given")
	// ErrBusy: there are too many bodies in memory; later there will be room.
	ErrBusy = errors.New("too many bodies at once")
)

const (
	// freeBody is how much of each body needs no room: nearly every request is smaller. So clients that
	// fill the room keep out large bodies only. There are as many of these as connections.
	freeBody = 4 << 10
	// provenRoom is for the bodies of those who have shown that they hold a key, unprovenRoom for those
	// who only name one, of whom a single source may have half.
	provenRoom   = 16 << 20
	unprovenRoom = 4 << 20
)

// Bodies reads bodies into a bounded room.
type Bodies struct {
	most             int64 // bytes of one body
	proven, unproven room
}

// NewBodies makes a reader of bodies of at most so many bytes.
func NewBodies(most int64) *Bodies {
	return &Bodies{
		most:     most,
		proven:   room{free: provenRoom, ofOne: provenRoom},
		unproven: room{free: unprovenRoom, ofOne: unprovenRoom / 2},
	}
}

// Read reads the body of a request whose head was checked; proven says that its sender has shown to
// hold a key. Room is taken as the bytes come, not as they are announced. release gives it back.
func (b *Bodies) Read(r *http.Request, proven bool) (body []byte, release func(), err error) {
	switch {
	case r.ContentLength < 0:
		return nil, nil, ErrNoLength
	case r.ContentLength > b.most:
		return nil, nil, ErrTooLarge
	}
	room := &b.unproven
	if proven {
		room = &b.proven
	}
	source := SourceOf(r.RemoteAddr)
	taken := 0
	release = func() { room.give(source, taken); taken = 0 }
	whole := int(r.ContentLength)
	body = make([]byte, 0, min(whole, freeBody))
	for len(body) < whole {
		if len(body) == cap(body) {
			larger := min(whole, 2*cap(body))
			if !room.take(source, larger) {
				release()
				return nil, nil, ErrBusy
			}
			body = append(make([]byte, 0, larger), body...)
			room.give(source, taken) // the smaller one is gone
			taken = larger
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err != nil && len(body) < whole {
			release()
			return nil, nil, io.ErrUnexpectedEOF
		}
	}
	return body, release, nil
}

// Abandon leaves the rest of a request unread: the connection ends with the answer, and what the client
// has sent by then is thrown away, so that it can read the answer.
func Abandon(w http.ResponseWriter) {
	w.Header().Set("Connection", "close")
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTime))
}

// room is a number of bytes, for all and for each source.
type room struct {
	ofOne int

	mu      sync.Mutex
	free    int
	sources map[netip.Addr]int // bytes that each has taken
}

func (m *room) take(source netip.Addr, n int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.free || m.sources[source]+n > m.ofOne {
		return false
	}
	if m.sources == nil {
		m.sources = map[netip.Addr]int{}
	}
	m.free -= n
	m.sources[source] += n
	return true
}

func (m *room) give(source netip.Addr, n int) {
	if n == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free += n
	if m.sources[source] -= n; m.sources[source] == 0 {
		delete(m.sources, source)
	}
}
