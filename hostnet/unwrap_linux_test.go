package hostnet_test

import (
	"bytes"
	"net"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routedHost is a cloudHost with one more guest, "routed", on an interface of its own.
func routedHost(t *testing.T) (*cloudHost, *wire, net.HardwareAddr) {
	t.Helper()
	needHost(t)
	g := machine(t, "routed", "i1", "10.1.0.6/24")
	address(t, "i1", "10.1.0.1/24")
	g.do(func() { address(t, "eth0", "fd1a::6/64") })
	address(t, "i1", "fd1a::1/64")
	c := newCloudHost(t, hostnet.Endpoint{ID: "routed", Interface: "i1", IPv6: true})
	return c, tap(t, g, "eth0"), link(t, "i1").Attrs().HardwareAddr
}

// TestTags sends frames with tags by an interface that is no port of a bridge.
func TestTags(t *testing.T) {
	c, guest, mac := routedHost(t)
	for _, tags := range nestings() {
		for _, p := range c.payloads(guest, "10.1.0.6", "fd1a::6") {
			for _, to := range []net.HardwareAddr{mac, broadcast} {
				guest.raw(tagged(to, guest.mac, tags, p.ethertype, p.data))
			}
		}
		c.untouched(t, "tags", guest, true) // a machine's own packets, and so answered
	}
	if got := c.guests.accepted.Load(); got != 0 {
		t.Errorf("%d connections came to be", got)
	}
}

// TestOddFrames sends what a kernel may take apart, or deliver past the rules.
func TestOddFrames(t *testing.T) {
	c, routed, mac := routedHost(t)
	for _, from := range []struct {
		name    string
		wire    *wire
		to      net.HardwareAddr
		ip, ip6 string
		host    string
	}{
		{"port", c.attacker, c.mac, attacker4, attacker6, "10.0.0.1"},
		{"interface", routed, mac, "10.1.0.6", "fd1a::6", "10.1.0.1"},
	} {
		w := from.wire
		question := ip4(from.ip, metadata4, unix.IPPROTO_TCP, tcpSYN(from.ip, metadata4, 40000, 22))
		lie := ip4(metadata4, victim4, unix.IPPROTO_TCP, tcpSYN(metadata4, victim4, 80, 40000))
		reply := arp(2, w.mac, metadata4, victim4)
		snap := []byte{0xaa, 0xaa, 3, 0, 0, 0}
		length := func(b []byte) int { return len(b) }
		frames := map[string][]byte{}
		for name, p := range map[string][]byte{"question": question, "lie": lie} {
			frames["SNAP: "+name] = tagged(from.to, w.mac, nil, length(p)+8, join(snap, be16(unix.ETH_P_IP), p))
			frames["SNAP, 802.1H: "+name] = tagged(from.to, w.mac, nil, length(p)+8, join(snap[:5], []byte{0xf8}, be16(unix.ETH_P_IP), p))
			frames["SNAP and a tag: "+name] = tagged(from.to, w.mac, nil, length(p)+12, join(snap, be16(0x8100), be16(0), be16(unix.ETH_P_IP), p))
			frames["LLC: "+name] = tagged(from.to, w.mac, nil, length(p)+3, join([]byte{6, 6, 3}, p))
			frames["MPLS: "+name] = tagged(from.to, w.mac, nil, unix.ETH_P_MPLS_UC, join([]byte{0, 1, 1, 64}, p))
			frames["MPLS, null label: "+name] = tagged(from.to, w.mac, nil, unix.ETH_P_MPLS_UC, join([]byte{0, 0, 1, 64}, p))
			frames["PPPoE: "+name] = tagged(from.to, w.mac, nil, unix.ETH_P_PPP_SES, join([]byte{0x11, 0, 0, 1}, be16(length(p)+2), be16(0x21), p))
			frames["MACsec: "+name] = tagged(from.to, w.mac, nil, 0x88e5, join(make([]byte, 6), be16(unix.ETH_P_IP), p))
			frames["multicast station: "+name] = tagged(net.HardwareAddr{1, 0, 0x5e, 1, 2, 3}, w.mac, nil, unix.ETH_P_IP, p)
			frames["from a multicast station: "+name] = tagged(from.to, net.HardwareAddr{1, 2, 3, 4, 5, 6}, nil, unix.ETH_P_IP, p)
			for _, last := range []byte{0, 1, 2, 3, 0xe, 0x20} { // STP, pause, LACP, 802.1X, LLDP, GARP
				frames["link-local station: "+name+string('a'+last)] = tagged(net.HardwareAddr{1, 0x80, 0xc2, 0, 0, last}, w.mac, nil, unix.ETH_P_IP, p)
			}
			frames["6in4: "+name] = tagged(from.to, w.mac, nil, unix.ETH_P_IP, ip4(from.ip, from.host, unix.IPPROTO_IPV6, ip6("2002:a00:6::1", metadata6, unix.IPPROTO_TCP, tcpSYN("2002:a00:6::1", metadata6, 40000, 80))))
			frames["4in4: "+name] = tagged(from.to, w.mac, nil, unix.ETH_P_IP, ip4(from.ip, from.host, unix.IPPROTO_IPIP, p))
			frames["GRE: "+name] = tagged(from.to, w.mac, nil, unix.ETH_P_IP, ip4(from.ip, from.host, unix.IPPROTO_GRE, join(be16(0), be16(unix.ETH_P_IP), p)))
		}
		for _, last := range []byte{0, 2, 0xe} {
			frames["ARP to a link-local station"+string('a'+last)] = tagged(net.HardwareAddr{1, 0x80, 0xc2, 0, 0, last}, w.mac, nil, unix.ETH_P_ARP, reply)
		}
		frames["IPv4-mapped"] = tagged(from.to, w.mac, nil, unix.ETH_P_IPV6, ip6(from.ip6, "::ffff:169.254.169.254", unix.IPPROTO_TCP, make([]byte, 20)))
		frames["fragments"] = tagged(from.to, w.mac, nil, unix.ETH_P_IP, fragment4(from.ip, metadata4, unix.IPPROTO_TCP, 0x2000, question[20:28]))
		frames["later fragment"] = tagged(from.to, w.mac, nil, unix.ETH_P_IP, fragment4(from.ip, metadata4, unix.IPPROTO_TCP, 1, question[28:40]))
		frames["options"] = tagged(from.to, w.mac, nil, unix.ETH_P_IP, ip4(from.ip, metadata4, unix.IPPROTO_TCP, tcpSYN(from.ip, metadata4, 40000, 22), 1, 1, 1, 0))
		for _, f := range frames {
			w.raw(f)
		}
		c.untouched(t, from.name, w, false)
		if t.Failed() {
			for name, f := range frames {
				w.raw(f)
				c.untouched(t, from.name+", "+name, w, false)
			}
		}
	}
}

// TestListenerPort has a guest call its listener's own port, at all addresses of the host.
func TestListenerPort(t *testing.T) {
	var ports []int
	h, _ := newHost(t, func(c *hostnet.Config) {
		serve := c.Serve
		c.Serve = func(id string, l *hostnet.Listener) func() {
			ports = append(ports, l.Addr().(*net.TCPAddr).Port)
			return serve(id, l)
		}
	})
	bridge(t, "br0", "10.0.0.1/24")
	guest := machine(t, "b1", "p1", "10.0.0.5/24")
	plug(t, "p1", "br0")
	must(t, h.Set([]hostnet.Endpoint{{ID: "one", Interface: "p1", IPv6: true}}))
	guest.hears(metadata4, "one")
	guest.do(func() {
		for _, port := range ports {
			for _, to := range []string{"10.0.0.1", metadata4, metadata6} {
				c, err := net.DialTimeout("tcp", net.JoinHostPort(to, strconv.Itoa(port)), patience)
				if err == nil {
					_ = c.Close()
					t.Errorf("port %d answers at %s", port, to)
				}
			}
		}
	})
}

// TestTunnels has a guest send packets into tunnels that end at the host: what comes out of them must not
// find the host's own metadata service.
func TestTunnels(t *testing.T) {
	for _, test := range []struct {
		name string
		link func(local, remote net.IP) netlink.Link
		wrap func(from, host string, inner []byte, to net.HardwareAddr) []byte
	}{
		{"VXLAN", func(local, _ net.IP) netlink.Link {
			return &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, VxlanId: 100, Port: 4789, SrcAddr: local, Learning: true}
		}, func(from, host string, inner []byte, to net.HardwareAddr) []byte {
			frame := tagged(to, net.HardwareAddr{2, 0, 0, 0, 0, 9}, nil, unix.ETH_P_IP, inner)
			return ip4(from, host, unix.IPPROTO_UDP, udp(from, host, 5555, 4789, join([]byte{8, 0, 0, 0, 0, 0, 100, 0}, frame)))
		}},
		{"IPIP", func(local, _ net.IP) netlink.Link {
			return &netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, Local: local}
		}, func(from, host string, inner []byte, _ net.HardwareAddr) []byte {
			return ip4(from, host, unix.IPPROTO_IPIP, inner)
		}},
		{"GRE", func(local, _ net.IP) netlink.Link {
			return &netlink.Gretun{LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, Local: local}
		}, func(from, host string, inner []byte, _ net.HardwareAddr) []byte {
			return ip4(from, host, unix.IPPROTO_GRE, join(be16(0), be16(unix.ETH_P_IP), inner))
		}},
		{"GRETAP", func(local, remote net.IP) netlink.Link {
			return &netlink.Gretap{LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, Local: local, Remote: remote}
		}, func(from, host string, inner []byte, to net.HardwareAddr) []byte {
			frame := tagged(to, net.HardwareAddr{2, 0, 0, 0, 0, 9}, nil, unix.ETH_P_IP, inner)
			return ip4(from, host, unix.IPPROTO_GRE, join(be16(0), be16(unix.ETH_P_TEB), frame))
		}},
		{"GENEVE", func(_, remote net.IP) netlink.Link {
			return &netlink.Geneve{LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, ID: 100, Dport: 6081, Remote: remote}
		}, func(from, host string, inner []byte, to net.HardwareAddr) []byte {
			frame := tagged(to, net.HardwareAddr{2, 0, 0, 0, 0, 9}, nil, unix.ETH_P_IP, inner)
			return ip4(from, host, unix.IPPROTO_UDP, udp(from, host, 5555, 6081, join([]byte{0, 0, 0x65, 0x58, 0, 0, 100, 0}, frame)))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, routed, mac := routedHost(t)
			for _, from := range []struct {
				name     string
				wire     *wire
				to       net.HardwareAddr
				ip, host string
			}{{"port", c.attacker, c.mac, attacker4, "10.0.0.1"}, {"interface", routed, mac, "10.1.0.6", "10.1.0.1"}} {
				tunnel := test.link(net.ParseIP(from.host), net.ParseIP(from.ip))
				if err := netlink.LinkAdd(tunnel); err != nil {
					t.Skipf("the kernel has no %s: %v", test.name, err)
				}
				up(t, "tunnel")
				address(t, "tunnel", "10.50.0.1/24")
				must(t, os.WriteFile("/proc/sys/net/ipv4/conf/tunnel/rp_filter", []byte("0"), 0o644))
				end := link(t, "tunnel").Attrs().HardwareAddr
				inside := "10.50.0.9"
				harmless := ip4(inside, "192.0.2.1", unix.IPPROTO_UDP, udp(inside, "192.0.2.1", 40000, 9, []byte("harmless")))
				from.wire.raw(tagged(from.to, from.wire.mac, nil, unix.ETH_P_IP, test.wrap(from.ip, from.host, harmless, end)))
				if n := c.cloud.heard(func(f []byte) bool { return bytes.Contains(f, []byte("harmless")) }); n == 0 {
					t.Errorf("%s: the tunnel does not work", from.name)
				}
				for _, src := range []string{inside, from.ip} {
					for _, port := range []int{80, 22} {
						inner := ip4(src, metadata4, unix.IPPROTO_TCP, tcpSYN(src, metadata4, 40000, port))
						from.wire.raw(tagged(from.to, from.wire.mac, nil, unix.ETH_P_IP, test.wrap(from.ip, from.host, inner, end)))
					}
				}
				c.untouched(t, from.name, from.wire, false)
				must(t, netlink.LinkDel(tunnel))
			}
		})
	}
}

// TestSourceRoute sends packets that are addressed to the host and ask it to send them on.
func TestSourceRoute(t *testing.T) {
	c, routed, mac := routedHost(t)
	sysctl(t, "/proc/sys/net/ipv4/conf/all/accept_source_route", "1")
	sysctl(t, "/proc/sys/net/ipv6/conf/all/accept_source_route", "1")
	for _, dev := range []string{"br0", "i1"} {
		must(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+dev+"/accept_source_route", []byte("1"), 0o644))
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+dev+"/accept_source_route", []byte("1"), 0o644))
		must(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+dev+"/rp_filter", []byte("0"), 0o644))
	}
	for _, from := range []struct {
		name           string
		wire           *wire
		to             net.HardwareAddr
		ip, host       string
		source6, host6 string
	}{
		{"port", c.attacker, c.mac, attacker4, "10.0.0.1", attacker6, "fd0a::1"},
		{"interface", routed, mac, "10.1.0.6", "10.1.0.1", "fd1a::6", "fd1a::1"},
	} {
		for _, kind := range []byte{131, 137} {
			options := join([]byte{kind, 11, 4}, addr(metadata4), addr(victim4), []byte{0})
			options = options[:12]
			from.wire.raw(tagged(from.to, from.wire.mac, nil, unix.ETH_P_IP, ip4(from.ip, from.host, unix.IPPROTO_TCP, tcpSYN(from.ip, metadata4, 40000, 80), options...)))
			options = append([]byte{kind, 7, 4}, append(addr(metadata4), 0)...)
			from.wire.raw(tagged(from.to, from.wire.mac, nil, unix.ETH_P_IP, ip4(from.ip, from.host, unix.IPPROTO_TCP, tcpSYN(from.ip, metadata4, 40000, 80), options...)))
		}
		for _, kind := range []byte{0, 2, 4} { // RFC 5095, 6275, 8754
			header := join([]byte{unix.IPPROTO_TCP, 2, kind, 1, 0, 0, 0, 0}, addr(metadata6))
			from.wire.raw(tagged(from.to, from.wire.mac, nil, unix.ETH_P_IPV6,
				ip6(from.source6, from.host6, unix.IPPROTO_ROUTING, join(header, tcpSYN(from.source6, metadata6, 40000, 80)))))
		}
		c.untouched(t, from.name, from.wire, false)
	}
}

// TestUppers has interfaces of the host that are made of an attached one: a guest reaches them by it.
func TestUppers(t *testing.T) {
	c, routed, _ := routedHost(t)
	for _, test := range []struct {
		name  string
		lower string
		link  func(netlink.LinkAttrs) netlink.Link
		wire  *wire
		tags  []tag
		ip    string
	}{
		{"macvlan", "i1", func(a netlink.LinkAttrs) netlink.Link {
			return &netlink.Macvlan{LinkAttrs: a, Mode: netlink.MACVLAN_MODE_BRIDGE}
		}, routed, nil, "10.1.0.6"},
		{"VLAN", "i1", vlan5, routed, []tag{{0x8100, 5}}, "10.1.0.6"},
		{"VLAN of a port", "p2", vlan5, c.attacker, []tag{{0x8100, 5}}, attacker4},
		{"VLAN of the bridge", "br0", vlan5, c.attacker, []tag{{0x8100, 5}}, attacker4},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, c.Network)
			upper := test.link(netlink.LinkAttrs{Name: "upper", ParentIndex: link(t, test.lower).Attrs().Index})
			if err := netlink.LinkAdd(upper); err != nil {
				t.Skipf("the kernel has no such interfaces: %v", err)
			}
			t.Cleanup(func() { unplug("upper") })
			up(t, "upper")
			must(t, os.WriteFile("/proc/sys/net/ipv4/conf/upper/rp_filter", []byte("0"), 0o644))
			if test.lower != "br0" { // by whose ports the frames are judged
				want := "nft inet openimds interfaces { upper }"
				for end := time.Now().Add(forever); !slices.Contains(nftState(t, map[int]string{link(t, "upper").Attrs().Index: "upper"}), want); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("the interface is not guarded")
					}
				}
			}
			mac := link(t, "upper").Attrs().HardwareAddr
			for _, port := range []int{80, 22} {
				test.wire.raw(tagged(mac, test.wire.mac, test.tags, unix.ETH_P_IP, ip4(test.ip, metadata4, unix.IPPROTO_TCP, tcpSYN(test.ip, metadata4, 40000, port))))
			}
			c.untouched(t, test.name, test.wire, true)
		})
	}
}

func vlan5(a netlink.LinkAttrs) netlink.Link { return &netlink.Vlan{LinkAttrs: a, VlanId: 5} }

// TestDiscoveryInDisguise has a neighbour say where the service is in ways that hide it: behind extension
// headers, and in fragments, which the victim's kernel is told to put together.
func TestDiscoveryInDisguise(t *testing.T) {
	c := newCloudHost(t)
	c.victims.do(func() {
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/eth0/suppress_frag_ndisc", []byte("0"), 0o644))
	})
	const dst = victim6
	na := icmp6(attacker6, dst, 136, []byte{0x60, 0, 0, 0}, addr(metadata6), []byte{2, 1}, c.attacker.mac)
	fragment := func(next byte, offset, more int, data []byte) []byte {
		return join([]byte{next, 0}, be16(offset|more), []byte{0, 0, 0, 7}, data)
	}
	pad := []byte{unix.IPPROTO_ICMPV6, 0, 1, 4, 0, 0, 0, 0} // PadN, and then ICMPv6
	long := append([]byte{unix.IPPROTO_ICMPV6, 1, 1, 12}, make([]byte, 12)...)
	packets := map[string][][]byte{
		"hop by hop":            {ip6(attacker6, dst, 0, join(pad, na))},
		"destination options":   {ip6(attacker6, dst, 60, join(pad, na))},
		"one fragment":          {ip6(attacker6, dst, 44, fragment(unix.IPPROTO_ICMPV6, 0, 0, na))},
		"two fragments":         {ip6(attacker6, dst, 44, fragment(unix.IPPROTO_ICMPV6, 0, 1, na[:8])), ip6(attacker6, dst, 44, fragment(unix.IPPROTO_ICMPV6, 8, 0, na[8:]))},
		"header in the second":  {ip6(attacker6, dst, 44, fragment(60, 0, 1, long[:8])), ip6(attacker6, dst, 44, fragment(60, 8, 0, join(long[8:], na)))},
		"options and fragments": {ip6(attacker6, dst, 44, fragment(60, 0, 1, pad)), ip6(attacker6, dst, 44, fragment(60, 8, 0, na))},
	}
	for name, all := range packets {
		for _, hbh := range []bool{false, true} {
			c.victims.hears(metadata6, "victim")
			for _, p := range all {
				if hbh && p[6] == 44 {
					p = ip6(attacker6, dst, 0, join([]byte{44, 0, 1, 4, 0, 0, 0, 0}, p[40:]))
				}
				c.attacker.raw(tagged(c.victim.mac, c.attacker.mac, nil, unix.ETH_P_IPV6, p))
			}
			c.victim.heard(func([]byte) bool { return false })
			c.victims.do(func() {
				if mac := macOf(t, "eth0", metadata6); bytes.Equal(mac, c.attacker.mac) {
					t.Errorf("%s: a guest believes that the service is at its neighbour", name)
				}
				forget(t, "eth0")
			})
		}
	}
	// Other fragments pass.
	ping := udp(attacker6, dst, 40000, 9, bytes.Repeat([]byte("harmless"), 4))
	c.attacker.raw(tagged(c.victim.mac, c.attacker.mac, nil, unix.ETH_P_IPV6, ip6(attacker6, dst, 44, fragment(unix.IPPROTO_UDP, 0, 1, ping[:24]))))
	c.attacker.raw(tagged(c.victim.mac, c.attacker.mac, nil, unix.ETH_P_IPV6, ip6(attacker6, dst, 44, fragment(unix.IPPROTO_UDP, 24, 0, ping[24:]))))
	if n := c.victim.heard(func(f []byte) bool { return bytes.Contains(f, []byte("harmless")) }); n != 2 {
		t.Errorf("%d of 2 fragments of something else came through", n)
	}
}
