package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// The times of streams.
const (
	pingTime  = 15 * time.Second
	writeTime = 10 * time.Second // for what a reader does not take: then it is slow, and dropped
	restTime  = 50 * time.Millisecond
)

// maxBatch is how many changes are told one by one; of more a page sees better by looking at all anew.
const maxBatch = 500

// events opens a stream of changes.
func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	if !method(w, r, http.MethodGet) {
		return
	}
	if !ofPage(r) {
		fail(w, http.StatusForbidden, "CrossOriginRequest", "Only the console's own page may ask for this")
		return
	}
	_, open, err := c.cfg.Sessions.find(r, false)
	if err != nil {
		c.refuse(w, err)
		return
	}
	feed, known := c.feeds[c.regionOr(r.URL.Query().Get("region"))]
	if !known {
		c.noRegion(w)
		return
	}
	if !c.takeStream(open) {
		w.Header().Set("Retry-After", "30")
		fail(w, http.StatusServiceUnavailable, "TooManyStreams", "There are too many open pages; ask again instead of waiting for events")
		return
	}
	defer c.giveStream(open)
	s := &stream{console: c, feed: feed, session: open, w: w, r: r, to: http.NewResponseController(w)}
	s.run()
}

// takeStream has one more stream opened, if there may be one.
func (c *Console) takeStream(of *session) bool {
	s := c.cfg.Sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	if of.streams >= maxStreams {
		return false
	}
	select {
	case c.streams <- struct{}{}:
		of.streams++
		return true
	default:
		return false
	}
}

func (c *Console) giveStream(of *session) {
	s := c.cfg.Sessions
	s.mu.Lock()
	defer s.mu.Unlock()
	of.streams--
	<-c.streams
}

// stream tells one page what changes.
type stream struct {
	console *Console
	feed    *feed
	session *session
	w       http.ResponseWriter
	r       *http.Request
	to      *http.ResponseController
	at      int64 // the revision that the page has come to
}

// run tells until the page is gone or slow, the session ends, or the server does.
func (s *stream) run() {
	_ = s.to.SetReadDeadline(time.Time{}) // a page sends nothing more, however long it listens
	s.w.Header().Set("Content-Type", "text/event-stream")
	s.w.Header().Set("X-Accel-Buffering", "no") // for proxies that would gather events
	if !s.wait(s.feed.ready, nil) || !s.begin() {
		return
	}
	ping := time.NewTicker(pingTime)
	defer ping.Stop()
	for {
		moved, ok := s.tell()
		if !ok || !s.wait(moved, ping.C) {
			return
		}
		time.Sleep(restTime) // one batch of what comes together
		if _, _, err := s.console.cfg.Sessions.find(s.r, false); err != nil {
			return
		}
	}
}

// wait waits until there is something to tell, or it is time to show that the stream is alive; false: it is over.
func (s *stream) wait(moved <-chan struct{}, ping <-chan time.Time) bool {
	select {
	case <-moved:
		return true
	case <-ping:
		return s.send(event("ping", s.at, nil))
	case <-s.session.over:
	case <-s.console.ended:
	case <-s.r.Context().Done():
	}
	return false
}

// begin says where the stream goes on from: where the page was, or here.
func (s *stream) begin() bool {
	hello := []byte("retry: 1000\n")
	last := s.r.Header.Get("Last-Event-ID")
	revision, err := strconv.ParseInt(last, 10, 64)
	switch {
	case last == "":
		s.at = s.feed.now()
		hello = append(hello, event("ping", s.at, nil)...)
	case err != nil:
		s.at = s.feed.now()
		hello = append(hello, event("relist", s.at, nil)...)
	default:
		s.at = revision
		hello = append(hello, '\n')
	}
	return s.send(hello)
}

// tell sends what has changed since.
func (s *stream) tell() (moved <-chan struct{}, ok bool) {
	changed, at, known, moved := s.feed.since(s.at)
	s.at = at
	switch {
	case !known || len(changed) > maxBatch:
		return moved, s.send(event("relist", at, nil))
	case len(changed) == 0:
		return moved, true
	}
	var text []byte
	for i, c := range changed {
		id := int64(-1) // who is cut off before the last one is told all of them again
		if i == len(changed)-1 {
			id = at
		}
		text = append(text, event("change", id, c)...)
	}
	return moved, s.send(text)
}

// event is one as it is sent; without an id of its own where that is negative.
func event(name string, id int64, data any) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "event: %s\n", name)
	if id >= 0 {
		fmt.Fprintf(&text, "id: %d\n", id)
	}
	body := []byte("{}")
	if data != nil {
		body, _ = json.Marshal(data) // texts only, on one line
	}
	fmt.Fprintf(&text, "data: %s\n\n", body)
	return text.Bytes()
}

// send writes and does not wait for long.
func (s *stream) send(text []byte) bool {
	_ = s.to.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := s.w.Write(text)
	if err == nil {
		err = s.to.Flush()
	}
	return err == nil
}
