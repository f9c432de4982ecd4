package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// visitor runs functions inside namespaces, on threads of their own.
type visitor struct {
	work chan visit
}

type visit struct {
	to   int
	do   func() error
	done chan error
}

// visitors is the number of threads: more would only wait for a core.
const visitors = 4

func newVisitor() (*visitor, error) {
	home, err := unix.Open("/proc/self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	v := &visitor{work: make(chan visit)}
	for range visitors {
		go func() {
			runtime.LockOSThread() // for good: the thread goes with the process
			for w := range v.work {
				err := unix.Setns(w.to, unix.CLONE_NEWNET)
				if err == nil {
					err = w.do()
				}
				if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
					panic(back) // the thread would do the next visit's work in the wrong place
				}
				w.done <- err
			}
		}()
	}
	return v, nil
}

// in runs do inside a namespace. A socket that it opens stays there.
func (v *visitor) in(ns int, do func() error) error {
	w := visit{to: ns, do: do, done: make(chan error, 1)}
	v.work <- w
	return <-w.done
}

// guest is a namespace that calls.
type guest struct {
	name string // of the namespace, as of ip-netns(8)
	ns   int
}

// newGuest makes a namespace with nothing but lo, which is down.
func (b *bench) newGuest(name string) (*guest, error) {
	path := "/run/netns/" + name
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return nil, err
	}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		return nil, fmt.Errorf("namespace %s: %w", name, err)
	}
	ns, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return &guest{name: name, ns: ns}, err
}

// cable leads from an interface of the host to eth0 of the guest, whose network is 10.a.b.0/24 with
// the host, or its bridge, as 10.a.b.1.
func (b *bench) cable(g *guest, hostEnd, bridge string, address, gateway net.IP, bits int) error {
	l := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: hostEnd}, PeerName: "eth0", PeerNamespace: netlink.NsFd(g.ns),
	}
	if err := netlink.LinkAdd(l); err != nil {
		return fmt.Errorf("veth %s: %w", hostEnd, err)
	}
	if bridge == "" {
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: gateway, Mask: net.CIDRMask(bits, 32)}}); err != nil {
			return err
		}
	} else {
		master, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetMaster(l, master); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	err := b.visitor.in(g.ns, func() error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(eth0, &netlink.Addr{IPNet: &net.IPNet{IP: address, Mask: net.CIDRMask(bits, 32)}}); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(eth0); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: gateway})
	})
	if err != nil {
		return err
	}
	return b.reach(g, gateway)
}

// reach waits until a guest hears from its gateway: until the link is up on both sides and the guest
// knows where the gateway is, which takes a second when its first question comes too early.
func (b *bench) reach(g *guest, gateway net.IP) error {
	var refused error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		err := b.visitor.in(g.ns, func() error {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(gateway.String(), "1"), 3*time.Second)
			if err == nil {
				_ = c.Close()
			}
			return err
		})
		if refused = err; err == nil || errors.Is(err, unix.ECONNREFUSED) {
			return nil
		}
	}
	return fmt.Errorf("%s does not reach %v: %w", g.name, gateway, refused)
}

// newBridge makes a bridge of the host with an address.
func newBridge(name string, address net.IP, bits int) error {
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("bridge %s: %w", name, err)
	}
	if err := netlink.AddrAdd(br, &netlink.Addr{IPNet: &net.IPNet{IP: address, Mask: net.CIDRMask(bits, 32)}}); err != nil {
		return err
	}
	return netlink.LinkSetUp(br)
}
