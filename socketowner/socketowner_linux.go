package socketowner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// Supported says whether this system can tell owners.
const Supported = true

// Finder finds owners. It is safe for use by many goroutines.
type Finder struct {
	mu    sync.Mutex
	netns *os.File // that it looks in; nil: this process's
	fd    int      // of sock_diag(7); -1: none
	seq   uint32
	buf   [4 << 10]byte
}

// New makes a finder, and tries it on a connection of its own: a kernel without the module, or a
// container's filter, is noticed before anybody relies on it.
func New() (*Finder, error) {
	f := &Finder{fd: -1}
	if err := f.try(); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("the kernel does not tell whose a connection is: %w", err)
	}
	return f, nil
}

// NewIn makes a finder for another network namespace, which it takes over. Whether it can look there the first question
// tells: it takes CAP_SYS_ADMIN.
func NewIn(netns *os.File) *Finder { return &Finder{netns: netns, fd: -1} }

func (f *Finder) try() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		if l, err = net.Listen("tcp", "[::1]:0"); err != nil {
			return err
		}
	}
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	uid, err := f.Owner(c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort())
	if err == nil && int(uid) != os.Geteuid() {
		err = fmt.Errorf("it says %d of a connection of the user %d", uid, os.Geteuid())
	}
	return err
}

// Close ends the finder.
func (f *Finder) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.close()
	if f.netns != nil {
		err = errors.Join(err, f.netns.Close())
	}
	return err
}

func (f *Finder) close() error {
	fd := f.fd
	f.fd = -1
	if fd < 0 {
		return nil
	}
	return unix.Close(fd)
}

// Owner returns the user who made the caller's socket of a connection between the two.
func (f *Finder) Owner(caller, service netip.AddrPort) (uid uint32, err error) {
	s, err := f.Find(caller, service)
	if err == nil && s.Answered {
		return 0, ErrUnknown // nobody who is to be let in
	}
	return s.UID, err
}

// NetnsCookie is the number of the network namespace that the finder looks in, which no other has until the next boot
// (SO_NETNS_COOKIE, Linux 5.14).
func (f *Finder) NetnsCookie() (cookie uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		if f.fd, err = f.open(); err != nil {
			return 0, err
		}
	}
	cookie, err = unix.GetsockoptUint64(f.fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return cookie, os.NewSyscallError("getsockopt", err)
}

// Find returns the caller's socket of a connection between the two. It looks for exactly that connection, and
// believes only an answer about it: where there is none, the kernel offers a listener at the same port, and a
// connection that was closed has no owner but is said to be root's.
func (f *Finder) Find(caller, service netip.AddrPort) (s Socket, err error) {
	caller, service = unmap(caller), unmap(service)
	if !caller.IsValid() || !service.IsValid() || caller.Addr().Is4() != service.Addr().Is4() {
		return Socket{}, ErrUnknown
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fd < 0 {
		if f.fd, err = f.open(); err != nil {
			return Socket{}, err
		}
	}
	answer, err := f.ask(caller, service)
	if err != nil {
		if !errors.Is(err, ErrUnknown) {
			_ = f.close() // it may be out of step: the next question has a new one
		}
		return Socket{}, err
	}
	return answer.socket(caller, service)
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

// open makes a socket in the namespace. It stays there, whatever thread uses it.
func (f *Finder) open() (fd int, err error) {
	if f.netns == nil {
		return open()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, and is nobody else's before
		if err = unix.Setns(int(f.netns.Fd()), unix.CLONE_NEWNET); err != nil {
			fd, err = -1, os.NewSyscallError("setns", err)
			return
		}
		fd, err = open()
	}()
	<-done
	return fd, err
}

func open() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	// The kernel answers before sendto returns; this is for one that does not.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 250_000}); err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	return fd, nil
}

// Sizes and places of linux/inet_diag.h.
const (
	headerSize  = unix.SizeofNlMsghdr
	requestSize = 8 + idSize // family, protocol, extensions, padding, states, then the id
	idSize      = 48         // ports, addresses, interface, cookie
	answerSize  = 4 + idSize + 5*4
	byFamily    = 20 // SOCK_DIAG_BY_FAMILY
	loopback    = 1  // the interface of every connection within a machine
)

// answer is an inet_diag_msg.
type answer []byte

// ask asks for the socket whose own end is the caller's.
func (f *Finder) ask(caller, service netip.AddrPort) (answer, error) {
	f.seq++
	request := make([]byte, headerSize+requestSize)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], byFamily)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(request[8:], f.seq)
	body := request[headerSize:]
	body[0], body[1] = unix.AF_INET6, unix.IPPROTO_TCP
	if caller.Addr().Is4() {
		body[0] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(body[4:], ^uint32(0))
	id := body[8:]
	binary.BigEndian.PutUint16(id, caller.Port())
	binary.BigEndian.PutUint16(id[2:], service.Port())
	copy(id[4:20], caller.Addr().AsSlice())
	copy(id[20:36], service.Addr().AsSlice())
	binary.NativeEndian.PutUint32(id[36:], loopback)
	binary.NativeEndian.PutUint64(id[40:], ^uint64(0)) // any cookie
	if err := unix.Sendto(f.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	for {
		n, _, err := unix.Recvfrom(f.fd, f.buf[:], 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvfrom", err)
		}
		return f.read(f.buf[:n])
	}
}

func (f *Finder) read(message []byte) (answer, error) {
	if len(message) < headerSize+4 || binary.NativeEndian.Uint32(message[8:]) != f.seq {
		return nil, errors.New("an answer to another question")
	}
	body := message[headerSize:]
	switch kind := binary.NativeEndian.Uint16(message[4:]); {
	case kind == unix.NLMSG_ERROR:
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
		if errno == unix.ENOENT {
			return nil, ErrUnknown
		}
		return nil, fmt.Errorf("sock_diag: %w", errno)
	case kind != byFamily || len(body) < answerSize:
		return nil, errors.New("an answer that is none")
	}
	return answer(body), nil
}

// socket is the caller's of an open connection between these two ends.
func (a answer) socket(caller, service netip.AddrPort) (Socket, error) {
	id, rest := a[4:4+idSize], a[4+idSize:]
	state, uid, inode := a[1], binary.NativeEndian.Uint32(rest[12:]), binary.NativeEndian.Uint32(rest[16:])
	switch {
	case state != unix.BPF_TCP_ESTABLISHED && state != unix.BPF_TCP_FIN_WAIT1 && state != unix.BPF_TCP_FIN_WAIT2 && state != unix.BPF_TCP_CLOSE_WAIT:
		return Socket{}, ErrUnknown // the two in the middle: who has sent all may still read
	case inode == 0: // nobody has it open any more
		return Socket{}, ErrUnknown
	case end(a[0], id[4:20], id[0:2]) != caller, end(a[0], id[20:36], id[2:4]) != service:
		return Socket{}, ErrUnknown
	}
	return Socket{UID: uid, Inode: uint64(inode), Answered: state == unix.BPF_TCP_CLOSE_WAIT}, nil
}

// end makes an address of its bytes.
func end(family byte, address, port []byte) netip.AddrPort {
	if family == unix.AF_INET {
		address = address[:4]
	}
	a, _ := netip.AddrFromSlice(address)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}
