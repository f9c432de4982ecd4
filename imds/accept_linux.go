package imds

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
	"unsafe"

	"github.com/openimds/openimds/usage"
	"golang.org/x/sys/unix"
)

// accept serves most connections in one step, without a goroutine or a timer: the listener defers
// them until their request is there (see [Listen]), so that accept, read, write and close are all
// that a request costs. Whatever cannot be done at once is left to [Server.converse].
func (s *Server) accept(l net.Listener, g *Guest, with around) error {
	deferred, ok := l.(*deferredListener)
	if !ok {
		return s.acceptWaiting(l, g, with)
	}
	overIPv6 := isIPv6(l.Addr())
	w := newWorkspace()
	from := newAcceptor(deferred.raw)
	for pause := time.Duration(0); ; {
		fd, err := from.next()
		if err != nil {
			if !passingErrno(err) {
				return err
			}
			if errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.EINTR) {
				continue
			}
			pause = s.pauseAccepting(pause, err)
			continue
		}
		pause = 0
		w.source, w.listener = from.source(), with.listener
		why := usage.NotRefused
		switch {
		case deferred.there != nil && !deferred.there():
			why = usage.ClosedLink
		case with.admit != nil && !with.admit(w.source, localOf(fd)):
			why = usage.ClosedCaller
		case !g.enter():
			why = usage.ClosedConnections
		}
		if why != usage.NotRefused {
			_ = unix.Close(fd)
			g.closed(why, w.source)
			continue
		}
		w.watch(with, func() netip.AddrPort { return localOf(fd) })
		w = s.serveNow(fd, g, overIPv6, w)
	}
}

// acceptor accepts connections by descriptor. It allocates nothing for a connection.
type acceptor struct {
	raw   syscall.RawConn
	try   func(fd uintptr) bool // accept, as a value that is made once
	fd    int
	errno unix.Errno
	peer  unix.RawSockaddrInet6 // with room for either family
}

func newAcceptor(raw syscall.RawConn) *acceptor {
	a := &acceptor{raw: raw}
	a.try = a.accept
	return a
}

func (a *acceptor) accept(listener uintptr) bool {
	size := uint32(unsafe.Sizeof(a.peer))
	fd, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, listener, uintptr(unsafe.Pointer(&a.peer)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	a.fd, a.errno = int(fd), errno
	return errno != unix.EAGAIN
}

// next waits for a connection and returns its descriptor.
func (a *acceptor) next() (fd int, err error) {
	if err := a.raw.Read(a.try); err != nil {
		return -1, err
	}
	if a.errno != 0 {
		return -1, a.errno
	}
	return a.fd, nil
}

// source is where the latest connection comes from. The listener says who is asking; this only says
// from where.
func (a *acceptor) source() netip.AddrPort {
	// The port stands at the same place in both, in network order.
	port := (*[2]byte)(unsafe.Pointer(&a.peer.Port))
	number := uint16(port[0])<<8 | uint16(port[1])
	switch a.peer.Family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&a.peer)).Addr), number)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.peer.Addr).Unmap(), number)
	}
	return netip.AddrPort{}
}

// localOf is this end of a connection; the zero value if there is none any more.
func localOf(fd int) netip.AddrPort {
	switch at, err := unix.Getsockname(fd); at := at.(type) {
	case *unix.SockaddrInet4:
		if err == nil {
			return netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port))
		}
	case *unix.SockaddrInet6:
		if err == nil {
			return netip.AddrPortFrom(netip.AddrFrom16(at.Addr).Unmap(), uint16(at.Port))
		}
	}
	return netip.AddrPort{}
}

// passingErrno says whether an accept error can end by itself; accept(2) lists them.
func passingErrno(err error) bool {
	for _, e := range []error{
		unix.EINTR, unix.ECONNABORTED, unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EPERM,
		unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH,
		unix.EOPNOTSUPP, unix.ENETUNREACH,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// serveNow answers the request of a fresh connection if it is there and the answer fits into the
// socket's buffer. It returns the workspace for the next one.
func (s *Server) serveNow(fd int, g *Guest, overIPv6 bool, w *workspace) *workspace {
	w.era = g.era.Load() // before the state is read
	n, err := unix.Read(fd, w.in)
	if n == 0 && err == nil {
		g.leave()
		_ = unix.Close(fd)
		return w
	}
	if err != nil {
		n = 0
	}
	x, complete := g.respond(w.in[:n], overIPv6, w)
	if !complete {
		s.hand(fd, g, w.source, func(c net.Conn) { s.converse(c, g, n, w) })
		return newWorkspace()
	}
	if x.silent {
		s.hand(fd, g, w.source, func(c net.Conn) { s.keep(c, g, w) })
		return newWorkspace()
	}
	if x.reset {
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	if x.delay > 0 {
		s.hand(fd, g, w.source, func(c net.Conn) { s.finish(c, g, x, w) })
		return newWorkspace()
	}
	sent := 0
	limited := true
	if x.hopLimit > 0 {
		if limited = setHopLimitFD(fd, overIPv6, x.hopLimit) == nil; !limited {
			g.closed(usage.ClosedHopLimit, w.source)
		}
	}
	if len(x.out) > 0 && limited {
		sent, err = unix.Write(fd, x.out)
		if sent < len(x.out) && (err == nil || errors.Is(err, unix.EAGAIN)) || x.linger {
			rest := x
			rest.out = x.out[max(sent, 0):]
			s.hand(fd, g, w.source, func(c net.Conn) { s.finish(c, g, rest, w) })
			return newWorkspace()
		}
	}
	g.leave()
	if x.counters == nil || sent < len(x.out) || !g.await(fd, overIPv6, x, w) {
		_ = unix.Close(fd)
	}
	return w
}

// hand passes a descriptor on to a goroutine that may wait on it.
func (s *Server) hand(fd int, g *Guest, from netip.AddrPort, serve func(net.Conn)) {
	if !s.wait(g) {
		g.leave()
		_ = unix.Close(fd)
		g.closed(usage.ClosedWaiting, from)
		return
	}
	c, err := connOf(fd)
	if err != nil { // it takes a second descriptor for a moment
		s.waited()
		g.leave()
		g.closed(usage.ClosedWaiting, from)
		s.pauseAccepting(50*time.Millisecond, err)
		return
	}
	s.serving.Add(1)
	go serve(c)
}

// finish sends what is left of an answer.
func (s *Server) finish(c net.Conn, g *Guest, x exchange, w *workspace) {
	defer s.serving.Done()
	defer s.waited()
	defer g.leave()
	g.track(c, w.era)
	defer g.untrack(c)
	defer func() { _ = c.Close() }()
	defer workspaces.Put(w)
	if len(x.out) == 0 {
		s.linger(c)
	} else if !s.send(c, g, x) {
		return
	}
	g.awaitConn(c, x, w)
}

// keep leaves a connection as it is, without a word.
func (s *Server) keep(c net.Conn, g *Guest, w *workspace) {
	defer s.serving.Done()
	defer s.waited()
	defer g.leave()
	g.track(c, w.era)
	defer g.untrack(c)
	defer func() { _ = c.Close() }()
	workspaces.Put(w)
	s.silence(c)
}

// connOf takes a descriptor over.
func connOf(fd int) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), "guest")
	defer func() { _ = f.Close() }() // FileConn has a descriptor of its own
	return net.FileConn(f)
}
