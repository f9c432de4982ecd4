package handover

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/openimds/openimds/fdpass"
)

// Observer is told what becomes of a listener that was handed over.
type Observer struct {
	// Seen is told of each request, whose answer waits until it returns; nil: of none.
	Seen func(Seen)
	// Gone is told, once, that the server has ended before Close was called.
	Gone func()
}

// Offers are the listeners of one command, handed over to one instance.
type Offers struct {
	dataDir, instance string
	observer          Observer

	mu     sync.Mutex
	conns  []*fdpass.Conn
	closed bool
}

// NewOffers makes the offers to the server of a data directory, for an instance of its. Nothing is looked at yet.
func NewOffers(dataDir, instance string, observer Observer) *Offers {
	return &Offers{dataDir: dataDir, instance: instance, observer: observer}
}

// Offer hands a listener over; when it returns without an error, the server answers. When the server ends, the
// listener is closed, so that connections are refused from then on.
func (o *Offers) Offer(l *net.TCPListener) error {
	c, err := fdpass.Dial(o.dataDir, socket)
	if err != nil {
		return fmt.Errorf("no server of this user has its data in %s: start 'openimds serve', or name its --data-dir (%w)", o.dataDir, err)
	}
	o.mu.Lock()
	o.conns = append(o.conns, c)
	o.mu.Unlock()
	f, err := l.File()
	if err != nil {
		return err
	}
	err = c.Send(message{Serve: &serve{Instance: o.instance, Observe: o.observer.Seen != nil}}, f)
	_ = f.Close()
	if err != nil {
		return err
	}
	var m message
	switch _, err := c.Receive(&m); {
	case errors.Is(err, io.EOF):
		return errors.New("the server ended")
	case err != nil:
		return err
	case m.Failed != "":
		return errors.New(m.Failed)
	}
	go o.hear(c, l)
	return nil
}

// hear passes on what the server tells.
func (o *Offers) hear(c *fdpass.Conn, l *net.TCPListener) {
	for {
		var m message
		if _, err := c.Receive(&m); err != nil {
			_ = l.Close()
			o.mu.Lock()
			defer o.mu.Unlock()
			if !o.closed {
				o.closed = true
				o.observer.Gone()
			}
			return
		}
		if m.Seen != nil && o.observer.Seen != nil {
			o.observer.Seen(*m.Seen)
			_ = c.Send(message{Heard: true})
		}
	}
}

// Close takes all of them back.
func (o *Offers) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, c := range o.conns {
		_ = c.Close()
	}
}
