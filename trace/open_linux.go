package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/openimds/openimds/processes"
	"golang.org/x/sys/unix"
)

// mostNamespaces is in how many network namespaces it is looked for connections that are open already.
const mostNamespaces = 1024

// alreadyOpen finds the connections to the services that are open when the look-out begins, in all network
// namespaces that processes are in: socket cookie → process. It takes a while only where there are some.
func alreadyOpen(note func(string)) map[uint64]int {
	cookies := map[uint64]uint64{} // inode → cookie
	for _, ns := range namespaces() {
		err := within(ns, func() error { return establishedTo(cookies) })
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			note(fmt.Sprintf("connections that are open already are unknown in a network namespace: %v", err))
		}
	}
	found := map[uint64]int{}
	if len(cookies) == 0 {
		return found
	}
	inodes := map[uint64]bool{}
	for inode := range cookies {
		inodes[inode] = true
	}
	for inode, pid := range processes.Holders(inodes) {
		found[cookies[inode]] = pid
	}
	return found
}

// namespaces are paths of the network namespaces of all processes, one of each; the own is "".
func namespaces() []string {
	paths := []string{""}
	seen := map[string]bool{}
	if own, err := os.Readlink("/proc/thread-self/ns/net"); err == nil { // threads may be elsewhere
		seen[own] = true
	}
	all, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, path := range all {
		link, err := os.Readlink(path)
		if err != nil || seen[link] || len(paths) == mostNamespaces {
			continue
		}
		seen[link] = true
		paths = append(paths, path)
	}
	return paths
}

// within does something in a network namespace, on a thread that ends with it.
func within(path string, do func() error) error {
	if path == "" {
		return do()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with this goroutine
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			done <- err
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- do()
	}()
	return <-done
}

// Sizes of linux/inet_diag.h: a request, and the beginning of an answer.
const (
	diagRequest = 56
	diagAnswer  = 72
)

// establishedTo adds the sockets of this namespace that are connected to one of the services.
func establishedTo(cookies map[uint64]uint64) error {
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		if err := diag(family, func(s tcpSocket) {
			if s.remote.Port() == servicePort && isService(s.remote.Addr()) && s.inode != 0 {
				cookies[s.inode] = s.cookie
			}
		}); err != nil {
			return err
		}
	}
	return nil
}

func isService(a netip.Addr) bool {
	for _, s := range append(addrs4[:len(addrs4):len(addrs4)], addrs6...) {
		if s == a.Unmap() {
			return true
		}
	}
	return false
}

// tcpSocket is a socket of TCP, as the kernel tells.
type tcpSocket struct {
	local, remote netip.AddrPort
	inode, cookie uint64 // inode 0: nobody has it open
	uid           int
}

// diag passes on the TCP connections of this namespace that are established or end (sock_diag(7)).
func diag(family byte, each func(tcpSocket)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	request := make([]byte, unix.SizeofNlMsghdr+diagRequest)
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request[16], request[17] = family, unix.IPPROTO_TCP
	const states = 1<<unix.BPF_TCP_ESTABLISHED | 1<<unix.BPF_TCP_SYN_SENT | 1<<unix.BPF_TCP_FIN_WAIT1 | 1<<unix.BPF_TCP_FIN_WAIT2 | 1<<unix.BPF_TCP_CLOSE_WAIT
	binary.NativeEndian.PutUint32(request[20:], states)
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buffer := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		done, err := diagMessages(buffer[:n], each)
		if done || err != nil {
			return err
		}
	}
}

func diagMessages(b []byte, each func(tcpSocket)) (done bool, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.SizeofNlMsghdr || size > len(b) {
			return true, errors.New("sock_diag: an answer that is none")
		}
		body := b[unix.SizeofNlMsghdr:size]
		switch kind := binary.NativeEndian.Uint16(b[4:]); {
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR && len(body) >= 4:
			return true, fmt.Errorf("sock_diag: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(body))))
		case kind == unix.SOCK_DIAG_BY_FAMILY && len(body) >= diagAnswer:
			id := body[4:]
			each(tcpSocket{
				local: diagEnd(body[0], id[4:20], id[0:2]), remote: diagEnd(body[0], id[20:36], id[2:4]),
				inode: uint64(binary.NativeEndian.Uint32(body[68:])), cookie: binary.NativeEndian.Uint64(id[40:]),
				uid: int(binary.NativeEndian.Uint32(body[64:])),
			})
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return false, nil
}

func diagEnd(family byte, address, port []byte) netip.AddrPort {
	if family == unix.AF_INET {
		address = address[:4]
	}
	a, _ := netip.AddrFromSlice(address)
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(port))
}
