package hostnet_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// advertise4 and advertise6 claim an address for a station, unasked.
func advertise4(mac net.HardwareAddr, claimed string) []byte {
	return tagged(broadcast, mac, nil, unix.ETH_P_ARP, arp(2, mac, claimed, claimed))
}

func advertise6(mac net.HardwareAddr, claimed string) []byte {
	return tagged(net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}, mac, nil, unix.ETH_P_IPV6, advertisement(claimed, "ff02::1", mac, claimed))
}

// flood sends frames at a rate until it is stopped.
func (w *wire) flood(rate int, frames func(n int) []byte) (stop func()) {
	done := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		start := time.Now()
		for n := 0; ; {
			select {
			case <-done:
				return
			default:
			}
			for ; n < int(time.Since(start).Seconds()*float64(rate)); n++ {
				_ = unix.Sendto(w.fd, frames(n), 0, &unix.SockaddrLinklayer{Ifindex: w.index})
			}
			time.Sleep(time.Second / time.Duration(rate) / 2)
		}
	})
	return func() { close(done); sending.Wait() }
}

// TestTakeover has a neighbour, attached or a stranger, claim all that a guest's answers could depend on:
// its addresses and its station, those of the host, and more stations than a bridge can tell apart.
func TestTakeover(t *testing.T) {
	c := newCloudHost(t)
	c.bound(t)
	claims := func(from *wire) map[string]func(n int) []byte {
		one := func(frames ...[]byte) func(int) []byte { return func(n int) []byte { return frames[n%len(frames)] } }
		stolen := func(mac net.HardwareAddr) []byte {
			return tagged(broadcast, mac, nil, 0x88b5, make([]byte, 46)) // a local experiment, IEEE 802
		}
		return map[string]func(n int) []byte{
			"addresses": one(advertise4(from.mac, victim4), advertise6(from.mac, victim6)),
			"the addresses as questions": one(
				tagged(broadcast, from.mac, nil, unix.ETH_P_ARP, arp(1, from.mac, victim4, "10.0.0.1")),
				tagged(c.mac, from.mac, nil, unix.ETH_P_ARP, arp(1, from.mac, victim4, metadata4)),
				tagged(net.HardwareAddr{0x33, 0x33, 0xff, 0, 2, 0x54}, from.mac, nil, unix.ETH_P_IPV6, solicitation(victim6, from.mac, metadata6))),
			"the station":                one(stolen(c.victim.mac), advertise4(c.victim.mac, victim4), advertise6(c.victim.mac, victim6)),
			"the host's addresses":       one(advertise4(from.mac, "10.0.0.1"), advertise6(from.mac, "fd0a::1")),
			"the host's station":         one(stolen(c.mac), advertise4(c.mac, "10.0.0.1")),
			"many stations":              func(int) []byte { return stolen(binaryMAC(rand.Uint32())) },
			"questions of its addresses": one(tagged(c.mac, from.mac, nil, unix.ETH_P_IP, ip4(victim4, metadata4, unix.IPPROTO_TCP, tcpSYN(victim4, metadata4, 40000, 80)))),
		}
	}
	total := 0
	defer func() { t.Logf("%d polls", total) }()
	for name, from := range map[string]*wire{"attached": c.attacker, "stranger": c.stranger} {
		for what, frames := range claims(from) {
			for _, rate := range []int{20, 2000} {
				stop := from.flood(rate, frames)
				failed, polls := 0, 0
				for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); polls++ {
					for _, service := range []string{metadata4, metadata6} {
						c.victims.do(func() {
							if polls%10 == 5 { // it has to ask where the service is
								forget(t, "eth0")
							}
							if got, err := ask(service, forever, ""); got != "victim" {
								failed++
								t.Logf("%s, %s, %d/s, %s: answered as %q, %v", name, what, rate, service, got, err)
							}
						})
					}
				}
				stop()
				total += 2 * polls
				if failed > 0 {
					t.Errorf("%s, %s, %d/s: %d of %d polls failed", name, what, rate, failed, 2*polls)
				}
				for _, service := range []string{metadata4, metadata6} {
					c.victims.hears(service, "victim")
				}
			}
		}
	}
}

func binaryMAC(n uint32) net.HardwareAddr {
	mac, err := net.ParseMAC(fmt.Sprintf("02:00:%02x:%02x:%02x:%02x", byte(n>>24), byte(n>>16), byte(n>>8), byte(n)))
	if err != nil {
		panic(err)
	}
	return mac
}

// bound skips where the kernel cannot bind answers.
func (c *cloudHost) bound(t *testing.T) {
	t.Helper()
	for _, s := range c.Status() {
		if s.Reason != "" {
			t.Skip(s.Reason)
		}
	}
}

// macOf is what the thread's namespace believes of where an address is.
func macOf(t *testing.T, dev, ip string) net.HardwareAddr {
	t.Helper()
	for _, n := range neighboursOf(t, dev) {
		if n.IP.Equal(net.ParseIP(ip)) {
			return n.HardwareAddr
		}
	}
	return nil
}

// portOf is the port at which a bridge believes a station to be.
func portOf(t *testing.T, bridge string, mac net.HardwareAddr) int {
	t.Helper()
	all, err := netlink.NeighList(0, unix.AF_BRIDGE)
	must(t, err)
	for _, n := range all {
		if bytes.Equal(n.HardwareAddr, mac) && n.MasterIndex == link(t, bridge).Attrs().Index {
			return n.LinkIndex
		}
	}
	return 0
}

func talk(t *testing.T, ip string) {
	t.Helper()
	c, err := net.Dial("udp", net.JoinHostPort(ip, "9"))
	must(t, err)
	_, err = c.Write([]byte("x"))
	must(t, err)
	_ = c.Close()
}

// TestClaims has a guest claim what another one calls from: neither the host nor attached neighbours believe
// it, and the bridge does not learn the other's station at its port.
func TestClaims(t *testing.T) {
	third := machine(t, "third", "p4", "10.0.0.8/24")
	c := newCloudHost(t, hostnet.Endpoint{ID: "third", Interface: "p4", IPv6: true})
	third.do(func() { address(t, "eth0", "fd0a::8/64") })
	plug(t, "p4", "br0")
	must(t, c.Set([]hostnet.Endpoint{
		{ID: "victim", Interface: "p1", IPv6: true}, {ID: "attacker", Interface: "p2", IPv6: true}, {ID: "third", Interface: "p4", IPv6: true}}))
	c.victims.do(func() {
		for service, from := range map[string]string{metadata4: victim4, metadata6: victim6} {
			if got, err := ask(service, forever, netip.AddrPortFrom(netip.MustParseAddr(from), 0).String()); got != "victim" {
				t.Fatalf("answered as %q, %v", got, err)
			}
		}
	})
	third.do(func() { talk(t, victim4); talk(t, victim6) })
	talk(t, victim4)
	talk(t, victim6)
	frames := [][]byte{
		advertise4(c.attacker.mac, victim4), advertise6(c.attacker.mac, victim6),
		tagged(broadcast, c.attacker.mac, nil, unix.ETH_P_ARP, arp(1, c.attacker.mac, victim4, victim4)),
		tagged(broadcast, c.victim.mac, nil, 0x88b5, make([]byte, 46)),
		tagged(broadcast, c.victim.mac, nil, unix.ETH_P_ARP, arp(2, c.attacker.mac, victim4, victim4)),
	}
	claim := func(frames [][]byte) {
		for range 15 { // for longer than an entry is kept from changing
			for _, f := range frames {
				c.attacker.raw(f)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	claim(frames)
	believed := func(who, dev string) {
		t.Helper()
		for _, ip := range []string{victim4, victim6} {
			if mac := macOf(t, dev, ip); !bytes.Equal(mac, c.victim.mac) {
				t.Errorf("%s believes that %s is at %v, not at %v", who, ip, mac, c.victim.mac)
			}
		}
	}
	third.do(func() { believed("a neighbour", "eth0") })
	believed("the host", "br0")
	// Who asks is heard by the host, whoever it says to be; see noClaimsToHost.
	claim([][]byte{tagged(broadcast, c.attacker.mac, nil, unix.ETH_P_ARP, arp(1, c.attacker.mac, victim4, "10.0.0.8"))})
	third.do(func() { believed("a neighbour that is asked", "eth0") })
	if at := portOf(t, "br0", c.victim.mac); at != link(t, "p1").Attrs().Index {
		t.Errorf("the bridge believes that the victim's station is at port %d", at)
	}
}

// TestSquatting has a guest call from an address, with the MAC address too, before the owner has ever said
// anything. The owner is heard all the same, on its link and by its router.
func TestSquatting(t *testing.T) {
	c := newCloudHost(t)
	for range 10 {
		c.attacker.raw(tagged(c.mac, c.attacker.mac, nil, unix.ETH_P_IP, ip4(victim4, metadata4, unix.IPPROTO_TCP, tcpSYN(victim4, metadata4, 40000, 80))))
		c.attacker.raw(tagged(c.mac, c.victim.mac, nil, unix.ETH_P_IP, ip4(victim4, metadata4, unix.IPPROTO_TCP, tcpSYN(victim4, metadata4, 40001, 80))))
		c.attacker.raw(advertise4(c.attacker.mac, victim4))
	}
	c.victims.do(func() {
		must(t, netlink.RouteDel(&netlink.Route{Dst: &net.IPNet{IP: addr(metadata4), Mask: net.CIDRMask(32, 32)}, LinkIndex: link(t, "eth0").Attrs().Index}))
		to(t, metadata4+"/32", "10.0.0.1", "eth0")
	})
	c.victims.hears(metadata4, "victim")
	c.victims.hears(metadata6, "victim")
	for range 15 {
		c.victim.raw(advertise4(c.victim.mac, victim4))
	}
	if n := c.attacker.heard(isARPOf(victim4, true)); n == 0 {
		t.Error("the owner of an address cannot announce it any more")
	}
}

// TestQuietNeighbours has a guest call from the addresses of those who never call: an attached neighbour, and a
// router behind a port that is not attached. What they announce is heard as before.
func TestQuietNeighbours(t *testing.T) {
	c := newCloudHost(t)
	quiet, router := c.victim, c.stranger
	quiet.raw(advertise4(quiet.mac, victim4))
	quiet.raw(advertise6(quiet.mac, victim6))
	for _, ip := range []string{victim4, stranger4} {
		c.attacker.raw(tagged(c.mac, c.attacker.mac, nil, unix.ETH_P_IP, ip4(ip, metadata4, unix.IPPROTO_TCP, tcpSYN(ip, metadata4, 40000, 80))))
	}
	for _, ip := range []string{victim6, stranger6} {
		c.attacker.raw(tagged(c.mac, c.attacker.mac, nil, unix.ETH_P_IPV6, ip6(ip, metadata6, unix.IPPROTO_TCP, tcpSYN(ip, metadata6, 40000, 80))))
	}
	c.quiet()
	c.attacker.forget()
	quiet.raw(advertise4(quiet.mac, victim4))
	quiet.raw(advertise6(quiet.mac, victim6))
	router.raw(advertise4(router.mac, stranger4))
	router.raw(advertise6(router.mac, stranger6))
	for who, match := range map[string]func([]byte) bool{
		"a quiet neighbour, ARP": isARPOf(victim4, true), "a quiet neighbour, ND": isND(136, victim6),
		"a router, ARP": isARPOf(stranger4, true), "a router, ND": isND(136, stranger6),
	} {
		if n := c.attacker.heard(match); n == 0 {
			t.Errorf("%s is not heard any more", who)
		}
	}
}
