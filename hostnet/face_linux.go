package hostnet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// bootID is the kernel's name for this boot; empty: it cannot be read, and nothing is ever the same.
func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// origin is what only sysfs tells of a link.
type origin struct {
	read   bool
	serial uint64
	setMAC bool // on purpose
}

// The kinds of an address that last, linux/netdevice.h: what the device was born with, and what somebody
// set. Others are random, or another device's.
const (
	addressPermanent = "0"
	addressSet       = "3"
)

// originOf looks a link up in sysfs, which may show another namespace than this process's: what does not
// fit the link is not of it.
func originOf(l link) origin {
	o := origin{read: true}
	dir, err := os.OpenRoot("/sys/class/net/" + l.name)
	if err != nil {
		return o
	}
	defer func() { _ = dir.Close() }()
	is := func(file, want string) bool {
		text, err := dir.ReadFile(file)
		return err == nil && strings.TrimSpace(string(text)) == want
	}
	var st unix.Stat_t
	self, err := dir.Open(".")
	if err != nil {
		return o
	}
	defer func() { _ = self.Close() }()
	if !is("ifindex", strconv.Itoa(l.index)) || unix.Fstat(int(self.Fd()), &st) != nil {
		return o
	}
	o.serial = st.Ino
	o.setMAC = is("address", net.HardwareAddr(l.mac).String()) && (is("addr_assign_type", addressSet) || is("addr_assign_type", addressPermanent))
	return o
}

// doubt has sysfs read again: what was read may be of a link that has gone since.
func (ls *links) doubt(index int) {
	if l, ok := ls.byIndex[index]; ok {
		l.origin = origin{}
		ls.byIndex[index] = l
	}
}

// face is a link's. What sysfs tells is read once for as long as the link stays as it is.
func (h *Network) face(index int) Face {
	l := h.links.byIndex[index]
	if !l.origin.read {
		l.origin = originOf(l)
		h.links.byIndex[index] = l
	}
	f := Face{Boot: h.boot, Index: index, Serial: l.origin.serial, Alias: l.alias}
	// Some network plugins give all their links the same address, and systemd one that follows from the name.
	if l.origin.setMAC && h.links.macs[l.kind+l.mac] == 1 && !slices.Contains(predictable(h.machine, l.name), l.mac) {
		f.MAC = net.HardwareAddr(l.mac).String()
	}
	return f
}

// cookieOf is the face of a namespace.
func (h *Network) cookieOf(ns *namespace) (Face, error) {
	f := Face{Boot: h.boot}
	err := h.visitor.in(ns.file, func() error {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		f.Cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
	if errors.Is(err, unix.ENOPROTOOPT) { // before Linux 5.14; the number may be another's later
		f.Cookie, err = ns.id.ino, nil
	}
	return f, err
}

// sentinel is a socket that the kernel ties to one link: it knows at once when that has gone, while
// events are still on their way and another link may have the index by now. It hears no packet.
type sentinel struct {
	fd     int // -1: there is none, for want of the capability; events have to do
	closed atomic.Bool
}

func watchLink(index int) (*sentinel, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EAFNOSUPPORT) {
		return &sentinel{fd: -1}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.ENODEV) {
			return nil, errAbsent
		}
		return nil, fmt.Errorf("bind to interface %d: %w", index, err)
	}
	return &sentinel{fd: fd}, nil
}

// there says whether the link has not gone. Every request asks, so it costs one call of the kernel that
// never waits, and no memory.
func (s *sentinel) there() bool {
	if s.closed.Load() {
		return false
	}
	if s.fd < 0 {
		return true
	}
	var at unix.RawSockaddrLinklayer
	size := uint32(unsafe.Sizeof(at))
	_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, uintptr(s.fd), uintptr(unsafe.Pointer(&at)), uintptr(unsafe.Pointer(&size)))
	// The kernel takes the link's number out when it goes. Looked at again: the descriptor may be
	// another socket's by now.
	return errno == 0 && at.Family == unix.AF_PACKET && at.Ifindex > 0 && !s.closed.Load()
}

func (s *sentinel) close() {
	if !s.closed.Swap(true) && s.fd >= 0 {
		_ = unix.Close(s.fd)
	}
}

// tie watches over the link with an index, if it still is the one that was recognized.
func (h *Network) tie(index int) (*sentinel, error) {
	link, err := watchLink(index)
	if err != nil {
		return nil, err
	}
	was := h.links.byIndex[index]
	same := true
	if now := originOf(was); was.origin.read && now.serial != 0 {
		same = was.origin.serial == now.serial
	} else if l, err := netlink.LinkByIndex(index); err == nil {
		now := toLink(l)
		same = now.name == was.name && now.mac == was.mac && now.alias == was.alias
	}
	if !same {
		link.close()
		h.links.doubt(index)
		return nil, errAbsent // another one has the index by now
	}
	return link, nil
}
