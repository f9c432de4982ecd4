package handover

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/openimds/openimds/fdpass"
)

// Observer is told what becomes of a listener that was handed over.
type Observer struct {
	// Arrived is told where each connection comes from, before anything of it is read: whoever made it waits
	// until it returns. Seen is told of each request, after its answer as a rule. nil: nothing is told.
	Arrived func(source netip.AddrPort)
	Seen    func(Seen)
	// Gone is told, once, that the server has ended before Close was called.
	Gone func()
}

// Offers are the listeners of one command, handed over to one instance.
type Offers struct {
	dataDir, instance string
	observer          Observer

	mu     sync.Mutex
	offers []*offer
	closed bool
}

// offer is a listener that was handed over.
type offer struct {
	conn *fdpass.Conn
	told chan told // closed when the server is gone
}

// NewOffers makes the offers to the server of a data directory, for an instance of its. Nothing is looked at yet.
func NewOffers(dataDir, instance string, observer Observer) *Offers {
	return &Offers{dataDir: dataDir, instance: instance, observer: observer}
}

// Offer hands a listener over; when it returns without an error, the server answers. When the server ends, the
// listener is closed, so that connections are refused from then on.
func (o *Offers) Offer(l *net.TCPListener) error {
	c, err := fdpass.Dial(o.dataDir, socket)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) { // of nobody's, or of one that was killed
		return fmt.Errorf("no server of this user has its data in %s: start 'openimds serve', or name its --data-dir", o.dataDir)
	}
	if err != nil {
		return fmt.Errorf("the server of %s cannot be reached: %w", o.dataDir, err)
	}
	one := &offer{conn: c, told: make(chan told, 1)}
	o.mu.Lock()
	o.offers = append(o.offers, one)
	o.mu.Unlock()
	f, err := l.File()
	if err != nil {
		return err
	}
	err = c.Send(message{Serve: &serve{Instance: o.instance, Observe: o.observer.Arrived != nil}}, f)
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
	go o.hear(one, l)
	return nil
}

// hear passes on what the server tells.
func (o *Offers) hear(from *offer, l *net.TCPListener) {
	defer close(from.told)
	for {
		var m message
		if _, err := from.conn.Receive(&m); err != nil {
			_ = l.Close()
			o.mu.Lock()
			defer o.mu.Unlock()
			if !o.closed {
				o.closed = true
				o.observer.Gone()
			}
			return
		}
		switch {
		case m.Arrived != nil:
			o.observer.Arrived(*m.Arrived)
			_ = from.conn.Send(message{Heard: true})
		case m.Seen != nil:
			o.observer.Seen(*m.Seen)
		case m.Told != nil:
			from.told <- *m.Told
		}
	}
}

// Told waits until Observer.Seen was told of all requests that have been answered, and returns how many the
// server could not tell of, by their version. An error says that there may be others.
func (o *Offers) Told() (lost map[string]int, err error) {
	o.mu.Lock()
	offers := slices.Clone(o.offers)
	o.mu.Unlock()
	lost = map[string]int{}
	for _, one := range offers {
		_ = one.conn.Send(message{Tell: true}) // if it fails, so does what it is waited for
		select {
		case told, ok := <-one.told:
			if !ok {
				return lost, errors.New("the server ended before it had told of all requests")
			}
			for version, n := range told.Lost {
				lost[version] += n
			}
		case <-time.After(hearing):
			return lost, errors.New("the server has not told of all requests in time")
		}
	}
	return lost, nil
}

// Close takes all of them back.
func (o *Offers) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, one := range o.offers {
		_ = one.conn.Close()
	}
}
