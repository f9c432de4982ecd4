package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// backlog is of connections that wait to be accepted; the kernel lowers it to net.core.somaxconn.
const backlog = 1024

// listen opens a listener for one family in the thread's namespace, on a free port. It takes only
// packets with the mark, and, with an interface, only those of the interface.
//
// Neither can be changed by what is in a packet; both are inherited by each connection.
func listen(f *family, mark uint32, ifindex int) (*net.TCPListener, uint16, error) {
	fd, err := unix.Socket(f.af, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "listener of "+f.addr.String())
	defer func() { _ = file.Close() }() // FileListener has a descriptor of its own
	if err := prepare(fd, f, mark, ifindex); err != nil {
		return nil, 0, err
	}
	if err := unix.Listen(fd, backlog); err != nil {
		return nil, 0, fmt.Errorf("listen: %w", err)
	}
	l, err := net.FileListener(file)
	if err != nil {
		return nil, 0, err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		_ = l.Close()
		return nil, 0, fmt.Errorf("the listener is a %T", l)
	}
	return tcp, uint16(tcp.Addr().(*net.TCPAddr).Port), nil
}

func prepare(fd int, f *family, mark uint32, ifindex int) error {
	set := func(name string, level, option, value int) error {
		if err := unix.SetsockoptInt(fd, level, option, value); err != nil {
			return fmt.Errorf("setsockopt %s: %w", name, err)
		}
		return nil
	}
	var errs []error
	if f == v6 {
		errs = append(errs, set("IPV6_V6ONLY", unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1))
	}
	// Transparent: it may answer from an address that the host does not have, or not yet.
	if f == v4 {
		errs = append(errs, set("IP_TRANSPARENT", unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1))
	} else {
		errs = append(errs, set("IPV6_TRANSPARENT", unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1))
	}
	if ifindex != 0 {
		errs = append(errs,
			set("SO_BINDTOIFINDEX", unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, ifindex),
			set("SO_MARK", unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
	}
	errs = append(errs, filterMark(fd, mark))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	var sa unix.Sockaddr
	if f == v4 {
		sa = &unix.SockaddrInet4{Addr: f.addr.As4()}
	} else {
		sa = &unix.SockaddrInet6{Addr: f.addr.As16()}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return fmt.Errorf("bind to %v: %w", f.addr, err)
	}
	return nil
}

// filterMark drops every packet for the socket that has not exactly this mark. Connections inherit
// it, so one that outlives its attachment hears nothing from whoever comes next. It is a second lock:
// packets with another mark are sent to another port to begin with.
func filterMark(fd int, mark uint32) error { return filter(fd, ^uint32(0), mark) }

func filter(fd int, mask, mark uint32) error {
	const skfAdMark = 0xfffff000 + 20 // SKF_AD_OFF + SKF_AD_MARK, linux/filter.h
	prog := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: skfAdMark},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: mark, Jt: 0, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: ^uint32(0)},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &fprog); err != nil {
		return fmt.Errorf("setsockopt SO_ATTACH_FILTER: %w", err)
	}
	return nil
}

// serving is a listener. What is given to Config.Serve is closed there.
type serving struct {
	listener *Listener
	port     uint16
	stop     func() // nil: it has not been given out
	socket   int    // the listener's, which no event wakes
}

// newServing takes a listener, and a descriptor of it for itself: who serves it may have one of its own by
// then, and have closed this one.
func newServing(l *Listener, port uint16) (*serving, error) {
	s := &serving{listener: l, port: port, socket: -1}
	raw, err := l.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { s.socket, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
		err = cmp.Or(err, cerr)
	}
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("a descriptor of the listener: %w", err)
	}
	return s, nil
}

// accepting says whether the listener still is one: its socket can be ended from outside (ss --kill).
func (s *serving) accepting() bool {
	is, err := unix.GetsockoptInt(s.socket, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
	return err == nil && is == 1
}

func (s *serving) end() {
	if s.stop != nil {
		s.stop()
	}
	_ = s.listener.Close() // Serve may have closed it already
	_ = unix.Close(s.socket)
}
