package trace

import (
	"bytes"
	"container/list"
	"net/netip"
	"time"
)

// Bounds of what is kept of connections, and how long an answer is waited for.
const (
	mostConversations = 16 << 10
	mostPending       = 16
	answerWait        = 5 * time.Second
	// quietFor is how long a connection is silent until it is looked whether its process is still there, and mostLooks at
	// how many of them at once: a process that has ended calls no more.
	quietFor  = time.Minute
	mostLooks = 256
	// Of all connections together: whoever may run programs on the machine may open as many.
	mostHeads = 4 << 20  // bytes of requests that are not complete
	mostCalls = 16 << 10 // calls that wait for their answers
)

// conversation is a connection to a service.
type conversation struct {
	cookie  uint64
	first   event // the connection, or the first packet of it that was seen
	who     *caller
	since   time.Time
	heard   time.Time      // when it was heard of, or looked at, last
	spoke   bool           // something was sent
	told    bool           // that nothing was
	cut     bool           // it may not have been looked at any more since a sample is taken
	source  netip.AddrPort // the caller's end; not valid: nothing was sent
	next    uint32
	head    []byte    // of the request that is not complete
	begun   time.Time // when its first bytes came
	body    int       // bytes of the request's body that are to come; -1: until the next thing that looks like a request
	pending []*call
	answer  uint32 // where the last answer began
}

// call is a call that waits for its answer.
type call struct {
	Call
	who   *caller
	until time.Time
}

// conversations joins what is told of connections, and passes finished calls on.
type conversations struct {
	byCookie map[uint64]*list.Element // of *conversation
	order    *list.List               // the one that was heard of last in front
	finish   func(*call)
	clean    *cleaner
	over     func(*caller) bool // says whether a caller has ended; nil: nobody knows
	heads    int                // bytes of all that are not complete
	calls    int                // that wait
}

func newConversations(finish func(*call)) *conversations {
	return &conversations{byCookie: map[uint64]*list.Element{}, order: list.New(), finish: finish, clean: newCleaner()}
}

// connected begins one.
func (cs *conversations) connected(e event, who *caller, at time.Time) {
	if old, ok := cs.byCookie[e.cookie]; ok { // the socket tries again
		cs.end(old)
	}
	cs.begin(e, who, at)
}

func (cs *conversations) begin(e event, who *caller, at time.Time) *conversation {
	e.payload, e.args, e.exec = nil, nil, "" // who has them
	c := &conversation{cookie: e.cookie, first: e, who: who, since: at, heard: at}
	cs.byCookie[e.cookie] = cs.order.PushFront(c)
	if cs.order.Len() > mostConversations {
		cs.end(cs.order.Back())
	}
	return c
}

// end forgets one; what it waits for is told without an answer.
func (cs *conversations) end(at *list.Element) {
	c := at.Value.(*conversation)
	delete(cs.byCookie, c.cookie)
	cs.order.Remove(at)
	cs.keep(c, nil)
	cs.silent(c, time.Time{})
}

// find finds a connection; one that was not known is known from now on.
func (cs *conversations) find(e event, at time.Time, unknown func(event) *caller) *conversation {
	if known, ok := cs.byCookie[e.cookie]; ok {
		cs.order.MoveToFront(known)
		c := known.Value.(*conversation)
		c.heard = at
		return c
	}
	return cs.begin(e, unknown(e), at)
}

// knows says whether a connection is one of those that are followed.
func (cs *conversations) knows(cookie uint64) bool { return cs.byCookie[cookie] != nil }

// sent adds bytes to a connection.
func (cs *conversations) sent(c *conversation, e event, at time.Time) {
	payload, missing := e.payload, e.total-len(e.payload)
	c.source = e.source
	if !c.spoke {
		c.spoke, c.next = true, e.seq
	}
	switch ahead := int(int32(e.seq - c.next)); {
	case ahead+e.total <= 0:
		return // sent again
	case ahead < 0:
		payload = payload[min(-ahead, len(payload)):]
	case ahead > 0:
		cs.missed(c, ahead, at)
	}
	c.next = e.seq + uint32(e.total)
	cs.read(c, payload, at)
	if missing > 0 {
		cs.missed(c, missing, at)
	}
}

// missed notes that bytes were not seen.
func (cs *conversations) missed(c *conversation, n int, at time.Time) {
	switch {
	case c.body > 0:
		c.body = max(c.body-n, 0)
	case c.body == 0 && len(c.head) > 0:
		cs.unreadable(c, at, "not all of the request was seen")
		c.body = -1
	case c.body == 0:
		c.body = -1
	}
}

// read takes requests from bytes in their order.
func (cs *conversations) read(c *conversation, b []byte, at time.Time) {
	for len(b) > 0 {
		switch {
		case c.body > 0:
			n := min(c.body, len(b))
			c.body, b = c.body-n, b[n:]
			continue
		case c.body < 0: // out of step until a packet begins with a request
			if !looksLikeRequest(b) {
				return
			}
			c.body = 0
		}
		text, before := b[:min(len(b), mostHead)], len(c.head)
		if before > 0 {
			text = append(c.head, b[:min(len(b), mostHead-before)]...)
		}
		end := headEnd(text)
		switch {
		case end > 0:
		case len(text) == mostHead:
			cs.unreadable(c, at, "the request's head is longer than 8 KiB")
			c.body = -1
			return
		case cs.heads+len(text)-before > mostHeads:
			cs.unreadable(c, at, "it came in parts, as too many others did at once")
			c.body = -1
			return
		default:
			if before == 0 {
				text, c.begun = bytes.Clone(text), at
			}
			cs.keep(c, text)
			return
		}
		r, ok := parseHead(text[:end], c.first.addr, cs.clean)
		b = b[end-before:]
		cs.keep(c, nil)
		if !ok {
			cs.unreadable(c, at, "what was sent is no request")
			c.body = -1
			continue
		}
		c.body = r.body
		cs.called(c, r, at)
	}
}

// keep holds what there is of a request until the rest comes; nil: nothing.
func (cs *conversations) keep(c *conversation, head []byte) {
	cs.heads += len(head) - len(c.head)
	c.head = head
}

func looksLikeRequest(b []byte) bool {
	for _, m := range []string{"GET /", "PUT /", "HEAD /", "POST /", "OPTIONS ", "DELETE /", "GET http", "PUT http"} {
		if len(b) >= len(m) && string(b[:len(m)]) == m {
			return true
		}
	}
	return false
}

func (cs *conversations) called(c *conversation, r request, at time.Time) {
	version := None
	if serviceOf(c.first.addr) == Metadata {
		switch {
		case r.asksToken:
			version = Token
		case r.token:
			version = V2
		default:
			version = V1
		}
	}
	cs.wait(c, Call{
		Time: at, Version: version, Method: r.method, Path: r.path, Group: r.group, UserAgent: r.userAgent, Forwarded: r.forwarded,
	})
}

// unreadable tells of a request that cannot be told more of.
func (cs *conversations) unreadable(c *conversation, at time.Time, why string) {
	cs.keep(c, nil)
	cs.wait(c, Call{Time: at, Version: Unknown, Remark: why})
}

func (cs *conversations) wait(c *conversation, made Call) {
	made.Service, made.Address = serviceOf(c.first.addr), c.first.addr
	made.Source, made.Netns = c.source, c.first.netns
	one := &call{Call: made, who: c.who, until: made.Time.Add(answerWait)}
	switch {
	case len(c.pending) == mostPending:
		cs.finish(cs.first(c))
	case cs.calls == mostCalls:
		if one.Remark == "" {
			one.Remark = "its answer was not waited for: too many are at once"
		}
		cs.finish(one)
		return
	}
	c.pending = append(c.pending, one)
	cs.calls++
}

// first takes the call that waits longest.
func (cs *conversations) first(c *conversation) *call {
	one := c.pending[0]
	c.pending[0] = nil // the list's beginning stays in memory
	c.pending = c.pending[1:]
	cs.calls--
	return one
}

// answered gives the oldest request its answer.
func (cs *conversations) answered(c *conversation, e event) {
	status := statusOf(e.payload)
	if status < 200 || len(c.pending) == 0 || c.answer == e.seq && c.answer != 0 {
		return // on the way, or sent again
	}
	c.answer = e.seq
	done := cs.first(c)
	done.Status = status
	if done.Version == Token {
		done.HopsLeft = e.ttl
	}
	cs.finish(done)
}

// tick tells what has waited too long by now, and forgets connections of processes that have ended.
func (cs *conversations) tick(now time.Time) {
	looks := 0
	var next *list.Element
	for at := cs.order.Front(); at != nil; at = next {
		next = at.Next()
		c := at.Value.(*conversation)
		if len(c.head) > 0 && c.begun.Add(answerWait).Before(now) {
			cs.unreadable(c, c.begun, "the rest of the request did not come")
			c.body = -1
		}
		cs.silent(c, now)
		if cs.over == nil || looks == mostLooks || now.Sub(c.heard) < quietFor || len(c.pending) > 0 {
			continue
		}
		looks++
		c.heard = now
		if cs.over(c.who) {
			cs.end(at)
		}
	}
}

// silent tells calls of a connection that got no answer until a time; zero: whatever they wait for.
func (cs *conversations) silent(c *conversation, now time.Time) {
	for len(c.pending) > 0 && (now.IsZero() || c.pending[0].until.Before(now)) {
		late := cs.first(c)
		if late.Remark == "" {
			late.Remark = c.noAnswer(late.Version)
		}
		cs.finish(late)
	}
	if c.spoke || c.told || !now.IsZero() && c.since.Add(answerWait).After(now) {
		return
	}
	c.told = true
	remark := "connected, but no request was seen"
	if c.cut {
		remark = notLooked
	}
	cs.finish(&call{who: c.who, Call: Call{
		Time: c.since, Service: serviceOf(c.first.addr), Address: c.first.addr, Version: Unknown, Remark: remark,
	}})
}

// sampling notes that a smaller share of connections is looked at from now on: what is not seen any more of those that
// have begun need not be missing.
func (cs *conversations) sampling() {
	for at := cs.order.Front(); at != nil; at = at.Next() {
		at.Value.(*conversation).cut = true
	}
}

const notLooked = "not all of it was looked at: only a sample of the connections is"

// noAnswer says of a call that has none what that means.
func (c *conversation) noAnswer(v Version) string {
	if c.cut {
		return notLooked
	}
	if v == Token {
		return "no answer seen: the hop limit may be too small for this caller"
	}
	return "no answer seen"
}
