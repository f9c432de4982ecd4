package hostnet_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// namespace is a machine of the test network.
type namespace struct {
	t    testing.TB
	name string
	file *os.File
}

// newNamespace makes a namespace with a name of ip-netns(8) that is gone after the test.
func newNamespace(t testing.TB, name string) *namespace {
	t.Helper()
	path := filepath.Join("/run/netns", name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ns := &namespace{t: t, name: name}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		if ns.file, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.remove)
	ns.do(func() {
		up(t, "lo")
		must(t, noDAD())
	})
	return ns
}

// remove takes the name away, and with it the namespace unless somebody holds it.
func (ns *namespace) remove() {
	path := filepath.Join("/run/netns", ns.name)
	if ns.file == nil {
		return
	}
	_ = ns.file.Close()
	ns.file = nil
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		ns.t.Errorf("unmount %s: %v", path, err)
	}
	if err := os.Remove(path); err != nil {
		ns.t.Error(err)
	}
}

// do runs f inside.
func (ns *namespace) do(f func()) {
	ns.t.Helper()
	err := onThread(func() error {
		if err := unix.Setns(int(ns.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		f()
		return nil
	})
	if err != nil {
		ns.t.Fatal(err)
	}
}

// onThread runs f on a thread that ends with it.
func onThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := errors.New("the test ended inside a namespace")
		defer func() { done <- err }()
		err = f()
	}()
	return <-done
}

func link(t testing.TB, name string) netlink.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatalf("interface %s: %v", name, err)
	}
	return l
}

func up(t testing.TB, name string) {
	t.Helper()
	must(t, netlink.LinkSetUp(link(t, name)))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// cable makes an interface of the host with its other end in a namespace. They are gone after the test.
func (ns *namespace) cable(hostEnd, guestEnd string) {
	ns.t.Helper()
	must(ns.t, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: hostEnd, TxQLen: -1}, PeerName: guestEnd,
		PeerNamespace: netlink.NsFd(int(ns.file.Fd())),
	}))
	ns.t.Cleanup(func() { unplug(hostEnd) })
	up(ns.t, hostEnd)
	ns.do(func() { up(ns.t, guestEnd) })
}

func unplug(name string) {
	if l, err := netlink.LinkByName(name); err == nil {
		_ = netlink.LinkDel(l)
	}
}

// address gives an interface of the thread's namespace an address, without waiting for it.
func address(t testing.TB, dev, prefix string) {
	t.Helper()
	addr, err := netlink.ParseAddr(prefix)
	must(t, err)
	if addr.IP.To4() == nil {
		addr.Flags = unix.IFA_F_NODAD
	}
	must(t, netlink.AddrAdd(link(t, dev), addr))
}

// linkLocal waits until an interface that just came up has its link-local address.
func linkLocal(t testing.TB, dev string) {
	t.Helper()
	for end := time.Now().Add(forever); time.Now().Before(end); time.Sleep(time.Millisecond) {
		addrs, err := netlink.AddrList(link(t, dev), unix.AF_INET6)
		must(t, err)
		for _, a := range addrs {
			if a.IP.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
				return
			}
		}
	}
	t.Fatalf("%s has no link-local address", dev)
}

// to routes a destination out of an interface, by a router or with none.
func to(t testing.TB, destination, router, dev string) {
	t.Helper()
	dst, err := netlink.ParseIPNet(destination)
	must(t, err)
	r := &netlink.Route{Dst: dst, LinkIndex: link(t, dev).Attrs().Index}
	if router != "" {
		r.Gw = net.ParseIP(router)
	}
	must(t, netlink.RouteAdd(r))
}
