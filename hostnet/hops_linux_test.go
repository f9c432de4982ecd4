package hostnet_test

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hopServer answers like guests, with so many hops in what it sends after the handshake.
func hopServer(hops *atomic.Int64) func(string, *hostnet.Listener) func() {
	return func(id string, l *hostnet.Listener) func() {
		go func() {
			for {
				c, err := l.AcceptTCP()
				if err != nil {
					return
				}
				raw, _ := c.SyscallConn()
				_ = raw.Control(func(fd uintptr) {
					n := int(hops.Load())
					if l.Addr().(*net.TCPAddr).IP.To4() != nil {
						_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, n)
					} else {
						_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, n)
					}
				})
				_, _ = fmt.Fprintf(c, "%s %s\n", id, c.RemoteAddr())
				_ = c.Close()
			}
		}()
		return func() { _ = l.Close() }
	}
}

// TestHops has a container behind a guest, which routes: answers of one hop end at the guest, those of
// two reach the container. The guest is a machine on an interface, or a namespace that is attached
// itself.
func TestHops(t *testing.T) {
	for _, kind := range []string{"interface", "namespace"} {
		t.Run(kind, func(t *testing.T) {
			var hops atomic.Int64
			h, _ := newHost(t, func(c *hostnet.Config) { c.Serve = hopServer(&hops) })
			var guest *namespace
			endpoint := hostnet.Endpoint{ID: "one", IPv6: true}
			if kind == "interface" {
				guest = machine(t, "g1", "i1", "10.0.0.5/24")
				guest.do(func() { address(t, "eth0", "fd01::5/64") })
				address(t, "i1", "10.0.0.1/24")
				address(t, "i1", "fd01::1/64")
				to(t, "10.9.0.0/24", "10.0.0.5", "i1")
				to(t, "fd09::/64", "fd01::5", "i1")
				endpoint.Interface = "i1"
			} else {
				guest = newNamespace(t, "g1")
				endpoint.Netns = "g1"
			}
			container := behind(t, guest)
			must(t, h.Set([]hostnet.Endpoint{endpoint}))
			for _, addr := range []string{metadata4, metadata6} {
				hops.Store(2)
				guest.hears(addr, "one")
				container.hears(addr, "one")
				hops.Store(1)
				guest.hears(addr, "one")
				container.hearsNothing(addr)
				hops.Store(64)
				container.hears(addr, "one")
			}
		})
	}
}

// behind makes a container whose router is the guest.
func behind(t *testing.T, guest *namespace) *namespace {
	t.Helper()
	ct := newNamespace(t, "ct")
	guest.do(func() {
		must(t, netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "down", TxQLen: -1}, PeerName: "eth0",
			PeerNamespace: netlink.NsFd(int(ct.file.Fd())),
		}))
		up(t, "down")
		address(t, "down", "10.9.0.1/24")
		address(t, "down", "fd09::1/64")
		for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
			must(t, os.WriteFile(path, []byte("1"), 0o644))
		}
	})
	ct.do(func() {
		up(t, "eth0")
		address(t, "eth0", "10.9.0.2/24")
		address(t, "eth0", "fd09::2/64")
		linkLocal(t, "eth0")
		to(t, metadata4+"/32", "10.9.0.1", "eth0")
		to(t, metadata6+"/128", "fd09::1", "eth0")
	})
	return ct
}
