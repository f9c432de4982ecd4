package hostnet_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/openimds/openimds/hostnet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Frames are built by hand here: what a guest's own network stack would never send.

func addr(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func be16(v int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(v)) }

// checksum is that of RFC 1071.
func checksum(b []byte) []byte {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return be16(int(^sum & 0xffff))
}

// transport fills in the checksum of a TCP, UDP or ICMPv6 message at an offset.
func transport(src, dst string, protocol byte, msg []byte, at int) []byte {
	pseudo := join(addr(src), addr(dst), be16(0), be16(len(msg)), []byte{0, 0, 0, protocol})
	copy(msg[at:], checksum(append(pseudo, msg...)))
	return msg
}

func tcpSYN(src, dst string, from, port int) []byte {
	msg := join(be16(from), be16(port), []byte{0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 2}, be16(0xffff), be16(0), be16(0))
	return transport(src, dst, unix.IPPROTO_TCP, msg, 16)
}

func udp(src, dst string, from, port int, data []byte) []byte {
	return transport(src, dst, unix.IPPROTO_UDP, join(be16(from), be16(port), be16(8+len(data)), be16(0), data), 6)
}

func icmp6(src, dst string, kind byte, body ...[]byte) []byte {
	return transport(src, dst, unix.IPPROTO_ICMPV6, append([]byte{kind, 0, 0, 0}, join(body...)...), 2)
}

func ip4(src, dst string, protocol byte, data []byte, options ...byte) []byte {
	return fragment4(src, dst, protocol, 0, data, options...)
}

// fragment4 is a packet with these flags and offset.
func fragment4(src, dst string, protocol byte, fragment int, data []byte, options ...byte) []byte {
	h := join([]byte{0x45 + byte(len(options)/4), 0}, be16(20+len(options)+len(data)), be16(7), be16(fragment),
		[]byte{64, protocol, 0, 0}, addr(src), addr(dst), options)
	copy(h[10:], checksum(h))
	return append(h, data...)
}

func ip6(src, dst string, next byte, data []byte) []byte {
	return join([]byte{0x60, 0, 0, 0}, be16(len(data)), []byte{next, 255}, addr(src), addr(dst), data)
}

func arp(operation int, mac net.HardwareAddr, sender string, target string) []byte {
	return join([]byte{0, 1, 8, 0, 6, 4}, be16(operation), mac, addr(sender), make([]byte, 6), addr(target))
}

// solicitation and advertisement are those of RFC 4861, with the link-layer address of the sender.
func solicitation(src string, mac net.HardwareAddr, target string) []byte {
	const dst = "ff02::1:ff00:254"
	return ip6(src, dst, unix.IPPROTO_ICMPV6, icmp6(src, dst, 135, make([]byte, 4), addr(target), []byte{1, 1}, mac))
}

func advertisement(src, dst string, mac net.HardwareAddr, target string) []byte {
	return ip6(src, dst, unix.IPPROTO_ICMPV6, icmp6(src, dst, 136, []byte{0x20, 0, 0, 0}, addr(target), []byte{2, 1}, mac))
}

// tag is a VLAN tag, of IEEE 802.1Q or another kind.
type tag struct{ protocol, vlan int }

// tagged is a frame with such tags, the first of them outermost.
func tagged(to, from net.HardwareAddr, tags []tag, ethertype int, payload []byte) []byte {
	f := join(to, from)
	for _, t := range tags {
		f = join(f, be16(t.protocol), be16(t.vlan))
	}
	return join(f, be16(ethertype), payload)
}

func (w *wire) raw(frame []byte) {
	w.t.Helper()
	must(w.t, unix.Sendto(w.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: w.index}))
}

var broadcast = net.HardwareAddr{255, 255, 255, 255, 255, 255}

// cloudHost is a host that is a cloud's instance itself: it forwards, and has a route to a metadata service
// of its own, which guests must never reach. It has a bridge with an attached attacker, an attached victim
// and a stranger who is not attached.
type cloudHost struct {
	*hostnet.Network
	guests   *guests
	mac      net.HardwareAddr // of the bridge
	cloud    *wire
	victims  *namespace
	attacker *wire
	victim   *wire
	stranger *wire
}

const (
	victim4, attacker4, stranger4 = "10.0.0.5", "10.0.0.6", "10.0.0.7"
	victim6, attacker6, stranger6 = "fd0a::5", "fd0a::6", "fd0a::7"
)

func newCloudHost(t *testing.T, more ...hostnet.Endpoint) *cloudHost {
	t.Helper()
	needHost(t)
	for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		sysctl(t, path, "1")
	}
	cloud := newNamespace(t, "cloud")
	cloud.cable("uplink", "eth0")
	cloud.do(func() {
		for _, a := range []string{metadata4 + "/32", metadata6 + "/128", "192.0.2.1/24", "fd05::1/64"} {
			address(t, "eth0", a)
		}
		to(t, "10.0.0.0/24", "192.0.2.2", "eth0")
		to(t, "fd0a::/64", "fd05::2", "eth0")
	})
	t.Cleanup(answerAs(t, cloud, "cloud"))
	address(t, "uplink", "192.0.2.2/24")
	address(t, "uplink", "fd05::2/64")
	to(t, metadata4+"/32", "", "uplink")
	to(t, metadata6+"/128", "", "uplink")
	h, g := newHost(t)
	bridge(t, "br0", "10.0.0.1/24")
	address(t, "br0", "fd0a::1/64")
	wires := map[string]*wire{}
	var victims *namespace
	for _, m := range []struct{ name, port, addr4, addr6 string }{
		{"victim", "p1", victim4, victim6}, {"attacker", "p2", attacker4, attacker6}, {"stranger", "p3", stranger4, stranger6},
	} {
		ns := machine(t, m.name, m.port, m.addr4+"/24")
		ns.do(func() { address(t, "eth0", m.addr6+"/64") })
		plug(t, m.port, "br0")
		wires[m.name] = tap(t, ns, "eth0")
		if m.name == "victim" {
			victims = ns
		}
	}
	must(t, h.Set(append([]hostnet.Endpoint{
		{ID: "victim", Interface: "p1", IPv6: true}, {ID: "attacker", Interface: "p2", IPv6: true}}, more...)))
	return &cloudHost{
		Network: h, guests: g, mac: link(t, "br0").Attrs().HardwareAddr, cloud: tap(t, cloud, "eth0"), victims: victims,
		attacker: wires["attacker"], victim: wires["victim"], stranger: wires["stranger"],
	}
}

func sysctl(t *testing.T, path, value string) {
	t.Helper()
	old, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, []byte(value), 0o644))
	t.Cleanup(func() { must(t, os.WriteFile(path, []byte(strings.TrimSpace(string(old))), 0o644)) })
}

func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames = nil
}

// untouched checks what no frame may have brought about: the host's own metadata service heard of, an
// attached guest hearing somebody but the host speak as the service, or believing it; and of frames that
// must not be answered, an answer.
func (c *cloudHost) untouched(t *testing.T, what string, from *wire, answered bool) {
	t.Helper()
	c.quiet()
	for _, service := range []string{metadata4, metadata6} {
		about := func(f []byte) bool { return bytes.Contains(f[12:], addr(service)) }
		if f := c.cloud.first(about); f != nil && from != c.stranger { // who may go where the host lets him
			t.Errorf("%s: the host's own metadata service heard of it: %x", what, f)
		}
		posing := func(f []byte) bool {
			for _, words := range [][]byte{ // of a packet, of ARP, of neighbour discovery
				join(addr(service), addr(victim4)), join(addr(service), addr(victim6)),
				join(from.mac, addr(service)), join(addr(service), []byte{2, 1}),
			} {
				// Neighbour discovery that the host has forwarded is void: it proves to be from elsewhere.
				if bytes.Contains(f[12:], words) && (words[len(words)-1] != 1 || !bytes.Equal(f[6:12], c.mac)) {
					return true
				}
			}
			return false
		}
		if f := c.victim.first(posing); f != nil {
			t.Errorf("%s: an attached guest heard another speak as %s: %x", what, service, f)
		}
		fault := func(f []byte) bool { // of ICMP, with what it is about
			return f[12] == 8 && f[23] == unix.IPPROTO_ICMP || f[12] == 0x86 && f[20] == unix.IPPROTO_ICMPV6 && f[54] < 128
		}
		ofHost := func(f []byte) bool {
			return !bytes.Equal(f[6:12], c.victim.mac) && !bytes.Equal(f[6:12], c.attacker.mac) && !bytes.Equal(f[6:12], c.stranger.mac)
		}
		if f := from.first(func(f []byte) bool { return ofHost(f) && about(f) && !fault(f) }); f != nil && !answered && from != c.stranger {
			t.Errorf("%s: answered: %x", what, f)
		}
	}
	isService := func(ip net.IP) bool { return ip.Equal(addr(metadata4)) || ip.Equal(addr(metadata6)) }
	c.victims.do(func() {
		for _, n := range neighboursOf(t, "eth0") {
			if isService(n.IP) && bytes.Equal(n.HardwareAddr, from.mac) {
				t.Errorf("%s: an attached guest believes that %v is at another", what, n.IP)
			}
		}
		forget(t, "eth0")
	})
	for _, n := range neighboursOf(t, "br0") {
		if isService(n.IP) {
			t.Errorf("%s: the host believes that %v is at %v", what, n.IP, n.HardwareAddr)
		}
	}
	for _, w := range []*wire{c.cloud, c.victim, c.attacker, c.stranger} {
		w.forget()
	}
}

// quiet waits until no frame comes any more: one may lead to another.
func (c *cloudHost) quiet() {
	wires := []*wire{c.cloud, c.victim, c.attacker, c.stranger}
	count := func() (n int) {
		for _, w := range wires {
			w.mu.Lock()
			n += len(w.frames)
			w.mu.Unlock()
		}
		return n
	}
	for last := -1; last != count(); {
		last = count()
		var quiet sync.WaitGroup
		for _, w := range wires {
			quiet.Go(w.quiet)
		}
		quiet.Wait()
	}
}

// first is the first frame that came in and matches.
func (w *wire) first(match func([]byte) bool) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.frames {
		if len(f) > 14 && match(f) {
			return f
		}
	}
	return nil
}

func neighboursOf(t *testing.T, dev string) []netlink.Neigh {
	t.Helper()
	all, err := netlink.NeighList(link(t, dev).Attrs().Index, 0)
	must(t, err)
	return all
}

type payload struct {
	name      string
	ethertype int
	data      []byte
}

// payloads are questions to the metadata service and lies about it, by the sender of the wire.
func (c *cloudHost) payloads(from *wire, ip, ip6addr string) []payload {
	mac := from.mac
	return []payload{
		{"IPv4 TCP 80", unix.ETH_P_IP, ip4(ip, metadata4, unix.IPPROTO_TCP, tcpSYN(ip, metadata4, 40000, 80))},
		{"IPv4 TCP 22", unix.ETH_P_IP, ip4(ip, metadata4, unix.IPPROTO_TCP, tcpSYN(ip, metadata4, 40000, 22))},
		{"IPv4 UDP", unix.ETH_P_IP, ip4(ip, metadata4, unix.IPPROTO_UDP, udp(ip, metadata4, 40000, 80, nil))},
		{"IPv4 from the service", unix.ETH_P_IP, ip4(metadata4, victim4, unix.IPPROTO_TCP, tcpSYN(metadata4, victim4, 80, 40000))},
		{"IPv6 TCP 80", unix.ETH_P_IPV6, ip6(ip6addr, metadata6, unix.IPPROTO_TCP, tcpSYN(ip6addr, metadata6, 40000, 80))},
		{"IPv6 from the service", unix.ETH_P_IPV6, ip6(metadata6, victim6, unix.IPPROTO_TCP, tcpSYN(metadata6, victim6, 80, 40000))},
		{"ARP question", unix.ETH_P_ARP, arp(1, mac, ip, metadata4)},
		{"ARP probe", unix.ETH_P_ARP, arp(1, mac, "0.0.0.0", metadata4)},
		{"ARP gratuitous", unix.ETH_P_ARP, arp(1, mac, metadata4, metadata4)},
		{"ARP reply", unix.ETH_P_ARP, arp(2, mac, metadata4, victim4)},
		{"ND question", unix.ETH_P_IPV6, solicitation(ip6addr, mac, metadata6)},
		{"ND advertisement", unix.ETH_P_IPV6, advertisement(ip6addr, "ff02::1", mac, metadata6)},
		{"ND advertisement to one", unix.ETH_P_IPV6, advertisement(ip6addr, victim6, mac, metadata6)},
		{"ND question from the service", unix.ETH_P_IPV6, solicitation(metadata6, mac, victim6)},
	}
}

// nestings are ways to tag a frame up to three times. Those that may be answered come last: an answer to one
// that may not is then no other's.
func nestings() (out [][]tag) {
	kinds := []tag{{0x8100, 0}, {0x8100, 5}, {0x88a8, 0}, {0x88a8, 1}, {0x9100, 0}, {0x9200, 0}}
	for _, a := range kinds {
		for _, b := range kinds {
			out = append(out, []tag{a, b})
		}
	}
	for _, a := range kinds[:4] {
		for _, b := range kinds[:4] {
			out = append(out, []tag{a, b, {0x8100, 0}}, []tag{a, b, {0x88a8, 0}}, []tag{a, b, {0x8100, 7}})
		}
	}
	for _, a := range kinds {
		out = append(out, []tag{a})
	}
	return append(out, nil)
}

// TestNestedTags has an attached guest and a stranger send frames with up to three VLAN tags, of which the
// kernel takes off the first before the tables see the frame and the others behind them.
func TestNestedTags(t *testing.T) {
	for _, mode := range []string{"plain", "802.1Q", "802.1ad"} {
		t.Run(mode, func(t *testing.T) {
			c := newCloudHost(t)
			if mode != "plain" {
				filterVLANs(t, "br0", map[string]string{"802.1Q": "0x8100", "802.1ad": "0x88a8"}[mode])
			}
			for name, from := range map[string]*wire{"attached": c.attacker, "stranger": c.stranger} {
				ip, ip6addr := attacker4, attacker6
				if from == c.stranger {
					ip, ip6addr = stranger4, stranger6
				}
				for _, tags := range nestings() {
					for _, p := range c.payloads(from, ip, ip6addr) {
						for _, mac := range []net.HardwareAddr{c.mac, c.victim.mac, broadcast} {
							from.raw(tagged(mac, from.mac, tags, p.ethertype, p.data))
						}
					}
					c.untouched(t, fmt.Sprintf("%s, %x", name, tags), from, len(tags) <= 1)
				}
			}
		})
	}
}

// filterVLANs makes a bridge tell VLANs apart, by tags of this kind.
func filterVLANs(t *testing.T, bridge, protocol string) {
	t.Helper()
	sys := t.TempDir() // of this network namespace, which the one in /sys is not
	must(t, unix.Mount("sysfs", sys, "sysfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(sys, unix.MNT_DETACH)) })
	for _, option := range [][2]string{{"vlan_protocol", protocol}, {"vlan_filtering", "1"}} {
		path := filepath.Join(sys, "class/net", bridge, "bridge", option[0])
		if _, err := os.Stat(path); err != nil {
			t.Skip("bridges of this kernel do not filter VLANs")
		}
		must(t, os.WriteFile(path, []byte(option[1]), 0o644))
	}
}
