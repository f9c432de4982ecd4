package sandbox

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"

	"github.com/openimds/openimds/fdpass"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespace is the network namespace of the command.
type namespace struct {
	inode     uint64
	path      string // of the thread that is in it
	listeners []*net.TCPListener
}

// makeNamespace moves this thread into a new network namespace with the metadata addresses.
func makeNamespace() (ns namespace, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return ns, fmt.Errorf("a network namespace: %w", err)
	}
	thread, err := os.Readlink("/proc/thread-self")
	if err != nil {
		return ns, err
	}
	ns.path = "/proc/" + thread + "/ns/net"
	var st unix.Stat_t
	if err := unix.Stat(ns.path, &st); err != nil {
		return ns, err
	}
	ns.inode = st.Ino
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return ns, err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		return ns, fmt.Errorf("interface lo of the namespace: %w", err)
	}
	for _, a := range []netip.AddrPort{addr4, addr6} {
		l, err := listen(h, lo, a)
		if err == nil {
			ns.listeners = append(ns.listeners, l)
			continue
		}
		if a == addr4 { // many systems have no IPv6; all have this
			return ns, err
		}
	}
	return ns, nil
}

// listen gives the loopback interface an address, of a kind that is no connection's source for other
// destinations, and listens there.
func listen(h *netlink.Handle, lo netlink.Link, a netip.AddrPort) (*net.TCPListener, error) {
	bits := a.Addr().BitLen()
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(bits, bits)}, Scope: unix.RT_SCOPE_HOST}
	if a.Addr().Is6() {
		addr.Flags, addr.PreferedLft, addr.ValidLft = unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE, 0, math.MaxUint32
	}
	if err := h.AddrAdd(lo, addr); err != nil {
		return nil, fmt.Errorf("%v: %w", a.Addr(), err)
	}
	cfg := net.ListenConfig{KeepAlive: -1}
	l, err := cfg.Listen(context.Background(), "tcp", a.String())
	if err != nil {
		return nil, err
	}
	return l.(*net.TCPListener), nil
}

// hand gives the listeners to the caller, and keeps none.
func (ns *namespace) hand(to *fdpass.Conn) error {
	var files []*os.File
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, l := range ns.listeners {
		f, err := l.File()
		_ = l.Close()
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	return to.Send(message{Made: &made{Netns: ns.inode}}, files...)
}
