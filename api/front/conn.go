package front

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// What a client still sends to a connection that was refused is thrown away for so long, so that
// closing does not reset the connection under the answer.
const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// conn is a connection whose bytes are looked at on their way to net/http.
type conn struct {
	net.Conn // the socket, or TLS over it
	socket   net.Conn
	door     *door
	source   netip.Addr

	// Guarded by the door.
	idle  bool
	since time.Time // it has been about what it is about

	frames  framing     // only the reader's
	poison  []byte      // what net/http is still to read, before the end
	refused atomic.Bool // net/http is to refuse what it reads
	whole   atomic.Bool // what was read ends with a request
	closing sync.Once
}

// refusal in a request's head is what net/http answers with 400, wherever it stands, before it closes.
const refusal = "\x00\r\n\r\n"

// Read reads what can be read in one way only. net/http would read more than that: it passes over a
// Content-Length beside Transfer-Encoding, a line feed without carriage return, a folded line. In the
// place of what is not passed on comes what net/http refuses, so that a request before it gets its
// answer first.
func (c *conn) Read(p []byte) (int, error) {
	if c.refused.Load() {
		if len(c.poison) == 0 {
			return 0, io.EOF
		}
		n := copy(p, c.poison)
		c.poison = c.poison[n:]
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if n == 0 {
		if broken, ok := errors.AsType[tls.RecordHeaderError](err); ok {
			c.tellPlain(broken)
		}
		return n, err
	}
	good := c.frames.pass(p[:n])
	c.whole.Store(c.frames.whole())
	if good == n {
		return n, err
	}
	c.door.log.Debug("a request of the control API was refused", "source", c.source, "reason", c.frames.fault)
	c.poison = []byte(refusal)
	c.refused.Store(true)
	if good > 0 {
		return good, nil
	}
	return c.Read(p)
}

// tellPlain answers a client that does not speak TLS.
func (c *conn) tellPlain(broken tls.RecordHeaderError) {
	if broken.Conn == nil || !looksLikeHTTP(broken.RecordHeader[:]) {
		return
	}
	const text = "The control API speaks TLS here: write https:// in place of http://\n"
	_ = broken.Conn.SetWriteDeadline(time.Now().Add(lingerTime))
	_, _ = io.WriteString(broken.Conn, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"+text)
	c.refused.Store(true) // no more is read, but for what lingers
}

func looksLikeHTTP(start []byte) bool {
	for _, method := range []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET"} {
		if string(start) == method {
			return true
		}
	}
	return false
}

// CloseWrite is for net/http, which sends its last answer so when a body is left unread.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close ends the connection. One that was refused lingers, and counts until it is gone.
func (c *conn) Close() error {
	var err error
	c.closing.Do(func() {
		if c.refused.Load() {
			go c.linger()
			return
		}
		err = c.Conn.Close()
		c.door.leave(c)
	})
	return err
}

func (c *conn) linger() {
	defer c.door.leave(c)
	defer func() { _ = c.socket.Close() }()
	_ = c.socket.SetDeadline(time.Now().Add(lingerTime))
	_ = c.CloseWrite() // TLS says that this is the end
	if half, ok := c.socket.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(c.socket, lingerBytes))
	}
}

// patience says how long the connection is borne with. The door is locked.
func (c *conn) patience(now time.Time) patience {
	switch {
	case c.idle:
		return idling
	case !c.whole.Load():
		return sending
	case now.Sub(c.since) > stuckAfter:
		return stuck
	}
	return none
}
