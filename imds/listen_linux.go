package imds

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// deferredListener is a listener whose connections the kernel holds back until their request is
// there, so that most are served in one step. It accepts by descriptor, which net's own does not allow.
type deferredListener struct {
	file *os.File
	raw  syscall.RawConn
	addr net.Addr
	// there says whether those who call are still those whom the listener was made for; nil: always.
	there func() bool
}

// Defer makes a listener that [Server.Serve] serves fastest. It takes l over.
func Defer(l *net.TCPListener) (net.Listener, error) { return DeferWhile(l, nil) }

// DeferWhile is Defer for a listener whose callers may come to be others: connections that are accepted when
// there says so are closed unheard. It is asked for each one and must not wait.
func DeferWhile(l *net.TCPListener, there func() bool) (net.Listener, error) {
	file, err := l.File() // a descriptor of its own
	_ = l.Close()
	if err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	// After a second without data a connection is passed on as it is, and only then does its time to
	// send a request begin to run. A kernel that cannot defer is no worse than one that does not: such
	// connections are waited for.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1)
	})
	return &deferredListener{file: file, raw: raw, addr: l.Addr(), there: there}, nil
}

func (l *deferredListener) Close() error   { return l.file.Close() }
func (l *deferredListener) Addr() net.Addr { return l.addr }

func (l *deferredListener) Accept() (net.Conn, error) {
	for {
		fd, err := newAcceptor(l.raw).next()
		if err != nil {
			return nil, err
		}
		if l.there == nil || l.there() {
			return connOf(fd)
		}
		_ = unix.Close(fd)
	}
}
