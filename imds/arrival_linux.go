package imds

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/openimds/openimds/usage"
	"golang.org/x/sys/unix"
)

// An answer with a token that its hop limit ends on the way is lost to the caller, which then mostly
// goes on without a token, as if it knew no better. TCP tells: the answer is never acknowledged. Most
// answers are acknowledged by the time they are written, which one system call finds out; the
// connections of the others are kept for a while, and looked at.

const (
	// arrivalTick is how often those connections are looked at.
	arrivalTick = 50 * time.Millisecond
	// maxArrivals is how many connections of a guest are kept. An answer above it is not looked at.
	maxArrivals = 32
)

// arrivals are a guest's connections whose answer has a token and is not acknowledged yet.
type arrivals struct {
	mu      sync.Mutex
	waiting []arrival
	running bool // a goroutine looks at them
}

// arrival is a connection that was answered, and to whom the loss of the answer is counted.
type arrival struct {
	fd        int // closed for writing
	overIPv6  bool
	since     time.Time
	hopLimit  int // it stays on the socket, so that TCP's next attempts travel no further
	counters  *usage.Tally
	source    netip.Addr
	userAgent []byte
}

// await keeps a connection that was answered until it is known whether the answer arrived, and says
// whether it did keep it; if not, it is to be closed as ever.
func (g *Guest) await(fd int, overIPv6 bool, x exchange, w *workspace) bool {
	if acknowledged(fd) {
		return false
	}
	_ = unix.Shutdown(fd, unix.SHUT_WR) // what the peer sees of a close
	agent := w.request.userAgent
	a := arrival{
		fd: fd, overIPv6: overIPv6, since: time.Now(), hopLimit: x.hopLimit, counters: x.counters,
		source: w.source.Addr(), userAgent: append([]byte(nil), agent[:min(len(agent), usage.MaxUserAgent+1)]...),
	}
	g.arrivals.mu.Lock()
	defer g.arrivals.mu.Unlock()
	if len(g.arrivals.waiting) >= maxArrivals || !g.server.wait(g) {
		return false
	}
	g.arrivals.waiting = append(g.arrivals.waiting, a)
	if !g.arrivals.running {
		g.arrivals.running = true
		go g.watchArrivals()
	}
	return true
}

// awaitConn is await for a connection of a goroutine, which closes it in any case.
func (g *Guest) awaitConn(c net.Conn, x exchange, w *workspace) {
	tcp, ok := c.(*net.TCPConn)
	if x.counters == nil || !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if acknowledged(int(fd)) {
			return
		}
		own, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		if err == nil && !g.await(own, isIPv6(c.LocalAddr()), x, w) {
			_ = unix.Close(own)
		}
	})
}

// watchArrivals looks at the connections until none is left, or the server is shut down.
func (g *Guest) watchArrivals() {
	tick := time.NewTicker(arrivalTick)
	defer tick.Stop()
	for {
		select {
		case <-g.server.stopping:
			g.stopArrivals()
			return
		case <-tick.C:
			if !g.lookAtArrivals(time.Now()) {
				return
			}
		}
	}
}

// lookAtArrivals lets go of the connections whose fate is known. It says whether any is left.
func (g *Guest) lookAtArrivals(now time.Time) bool {
	l := &g.arrivals
	l.mu.Lock()
	defer l.mu.Unlock()
	left := l.waiting[:0]
	for _, a := range l.waiting {
		switch {
		case acknowledged(a.fd) || aborted(a.fd):
		case now.Sub(a.since) < g.server.patience.arrival:
			left = append(left, a)
			continue
		default:
			a.counters.Undelivered(a.source, a.userAgent, a.hopLimit, neededHopLimit(a.fd, a.overIPv6), g.server.cfg.Now())
		}
		_ = unix.Close(a.fd)
		g.server.waited()
	}
	clear(l.waiting[len(left):])
	l.waiting = left
	l.running = len(left) > 0
	if !l.running {
		l.waiting = nil
	}
	return l.running
}

// dropArrivals closes the connections, whether or not their answers arrived.
func (g *Guest) dropArrivals() {
	g.arrivals.mu.Lock()
	defer g.arrivals.mu.Unlock()
	g.dropAll()
}

// stopArrivals is dropArrivals by the goroutine that looks at them, at its end.
func (g *Guest) stopArrivals() {
	g.arrivals.mu.Lock()
	defer g.arrivals.mu.Unlock()
	g.dropAll()
	g.arrivals.running = false
}

func (g *Guest) dropAll() {
	for _, a := range g.arrivals.waiting {
		_ = unix.Close(a.fd)
		g.server.waited()
	}
	g.arrivals.waiting = nil
}

// acknowledged says whether the peer has acknowledged all that was sent but, perhaps, the end.
func acknowledged(fd int) bool {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	return err != nil || n <= 1
}

// aborted says whether the connection was given up: a peer that was gone when the answer arrived resets
// it, so the answer did arrive.
func aborted(fd int) bool {
	const tcpClose = 7 // TCP_CLOSE, net/tcp_states.h
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	return err != nil || info.State == tcpClose
}
