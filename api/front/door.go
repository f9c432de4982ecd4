package front

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// stuckAfter is how long a request may be under way before its connection may be given up for another.
// The API answers within half of it; the rest is for a client that does not take its answer.
const stuckAfter = 10 * time.Second

// door keeps count of the connections. When there are too many it does not send the newest away, who
// may well be the operator, but gives up the one that is missed least: the one that has been idle
// longest, else the one that has been longest about sending a request, else one that is stuck. So
// connections that wait for nothing keep nobody out.
type door struct {
	most, mostOfOne int
	log             *slog.Logger

	mu      sync.Mutex
	conns   map[*conn]struct{}
	sources map[netip.Addr]int
}

func newDoor(most int, log *slog.Logger) *door {
	most = max(most, 2)
	return &door{
		most: most, mostOfOne: max(most/2, 1), log: log,
		conns: map[*conn]struct{}{}, sources: map[netip.Addr]int{},
	}
}

// admit lets a connection in, or returns nil.
func (d *door) admit(socket net.Conn) *conn {
	source := SourceOf(socket.RemoteAddr().String())
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sources[source] >= d.mostOfOne && !d.evict(now, func(c *conn) bool { return c.source == source }) {
		return nil
	}
	if len(d.conns) >= d.most && !d.evict(now, func(*conn) bool { return true }) {
		return nil
	}
	c := &conn{Conn: socket, socket: socket, door: d, source: source, since: now}
	d.conns[c] = struct{}{}
	d.sources[source]++
	return c
}

// evict gives up the connection that is missed least among some.
func (d *door) evict(now time.Time, among func(*conn) bool) bool {
	var victim *conn
	var least patience
	for c := range d.conns {
		if !among(c) {
			continue
		}
		p := c.patience(now)
		if p != none && (victim == nil || p < least || p == least && c.since.Before(victim.since)) {
			victim, least = c, p
		}
	}
	if victim == nil {
		return false
	}
	d.remove(victim)
	_ = victim.socket.Close() // not TLS's own Close, which would still write
	d.log.Debug("a connection of the control API was given up for another", "source", victim.source)
	return true
}

// evictIdle gives up the connection that has been idle longest, if any is.
func (d *door) evictIdle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.evict(time.Now(), func(c *conn) bool { return c.idle })
}

// leave takes note of a connection's end.
func (d *door) leave(c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(c)
}

func (d *door) remove(c *conn) {
	if _, in := d.conns[c]; !in {
		return
	}
	delete(d.conns, c)
	if d.sources[c.source]--; d.sources[c.source] == 0 {
		delete(d.sources, c.source)
	}
}

// changed is told by net/http of what a connection is about.
func (d *door) changed(nc net.Conn, state http.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case http.StateIdle, http.StateActive:
		d.mu.Lock()
		defer d.mu.Unlock()
		c.idle, c.since = state == http.StateIdle, time.Now()
	case http.StateClosed, http.StateHijacked:
		// Close says so itself, since the last bytes may linger.
	}
}

// patience is how long a connection is borne with, the least first.
type patience int

const (
	idling  patience      = iota + 1 // between two requests
	sending                          // a request is not all there
	stuck                            // a request is there, but has not been answered for long
	none    = patience(0)            // it is to be left alone
)
