package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// solicited is the solicited-node multicast address of fd00:ec2::254, RFC 4291 section 2.7.1.
var solicited = netip.MustParseAddr("ff02::1:ff00:254")

// neighbours answers neighbour solicitations for fd00:ec2::254 on the links of guests. The kernel
// would do it for an address of the interface, or as a proxy; the first takes the address away from
// the host's own routes, the second needs a host that forwards.
//
// IPv4 needs nothing like it: the kernel answers ARP by the same rule that delivers the packets.
type neighbours struct {
	file *os.File

	mu       sync.RWMutex
	stations map[int]net.HardwareAddr // of attached interfaces
	done     chan struct{}

	groups []*os.File       // sockets that are members of the group
	member map[int]*os.File // by interface; only set has to do with these
}

// newNeighbours starts the answering. It needs CAP_NET_RAW.
func newNeighbours(mark uint32) (*neighbours, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMPV6)
	if err != nil {
		return nil, fmt.Errorf("raw ICMPv6 socket: %w", err)
	}
	n := &neighbours{
		file:     os.NewFile(uintptr(fd), "icmp6"),
		stations: map[int]net.HardwareAddr{},
		done:     make(chan struct{}),
		member:   map[int]*os.File{},
	}
	errs := []error{
		unix.SetsockoptString(fd, unix.IPPROTO_ICMPV6, icmpv6Filter, onlySolicitations()),
		filter(fd, ^uint32(indexMask), mark), // the tables mark what is asked by guests
	}
	// RFC 4861 section 7.1: a hop limit of 255 proves that a packet comes from the link.
	for option, value := range map[int]int{
		unix.IPV6_RECVPKTINFO: 1, unix.IPV6_RECVHOPLIMIT: 1,
		unix.IPV6_UNICAST_HOPS: 255, unix.IPV6_MULTICAST_HOPS: 255,
	} {
		errs = append(errs, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, option, value))
	}
	if err := errors.Join(errs...); err != nil {
		_ = n.file.Close()
		return nil, fmt.Errorf("raw ICMPv6 socket: %w", err)
	}
	go n.run()
	return n, nil
}

const icmpv6Filter = 1 // ICMPV6_FILTER, linux/icmpv6.h

// onlySolicitations is a bit for each type of ICMPv6 message, set for those not wanted.
func onlySolicitations() string {
	var unwanted [256 / 8]byte
	for word := range 8 {
		bits := ^uint32(0)
		if word == ndSolicitation/32 {
			bits &^= 1 << (ndSolicitation % 32)
		}
		copy(unwanted[4*word:], native(bits))
	}
	return string(unwanted[:])
}

func (n *neighbours) close() {
	_ = n.file.Close()
	<-n.done
	for _, g := range n.groups {
		_ = g.Close()
	}
}

// set says on which interfaces, and as which station, to answer.
func (n *neighbours) set(stations map[int]net.HardwareAddr) error {
	n.mu.Lock()
	n.stations = stations
	n.mu.Unlock()
	var errs []error
	for ifindex := range stations {
		if n.member[ifindex] == nil {
			errs = append(errs, n.join(ifindex))
		}
	}
	for ifindex, group := range n.member {
		if _, stays := stations[ifindex]; !stays {
			_ = membership(group, ifindex, unix.IPV6_LEAVE_GROUP) // the interface may have gone before
			delete(n.member, ifindex)
		}
	}
	return errors.Join(errs...)
}

// join makes an interface hear who asks its link for fd00:ec2::254. A socket holds as many memberships
// as net.core.optmem_max has room for; then it takes another one. They end with the process.
func (n *neighbours) join(ifindex int) error {
	for _, group := range slices.Backward(n.groups) {
		err := membership(group, ifindex, unix.IPV6_JOIN_GROUP)
		if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS) {
			continue
		}
		if err == nil {
			n.member[ifindex] = group
		}
		return err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	group := os.NewFile(uintptr(fd), "members of "+solicited.String())
	if err := membership(group, ifindex, unix.IPV6_JOIN_GROUP); err != nil {
		_ = group.Close()
		return err
	}
	n.groups, n.member[ifindex] = append(n.groups, group), group
	return nil
}

func membership(group *os.File, ifindex, option int) error {
	m := unix.IPv6Mreq{Interface: uint32(ifindex), Multiaddr: solicited.As16()}
	if err := unix.SetsockoptIPv6Mreq(int(group.Fd()), unix.IPPROTO_IPV6, option, &m); err != nil {
		return fmt.Errorf("membership of %v: %w", solicited, err)
	}
	return nil
}

func (n *neighbours) station(ifindex int) net.HardwareAddr {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.stations[ifindex]
}

func (n *neighbours) run() {
	defer close(n.done)
	raw, err := n.file.SyscallConn()
	if err != nil {
		return
	}
	buf, oob := make([]byte, 512), make([]byte, 256)
	for {
		var length, oobLength int
		var from unix.Sockaddr
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			length, oobLength, _, from, rerr = unix.Recvmsg(int(fd), buf, oob, 0)
			return !errors.Is(rerr, unix.EAGAIN)
		})
		if err != nil {
			return
		}
		asker, ok := from.(*unix.SockaddrInet6)
		if rerr != nil || !ok {
			continue
		}
		ifindex, hops := arrival(oob[:oobLength])
		if !asksForUs(buf[:length]) || hops != 255 {
			continue
		}
		if station := n.station(ifindex); len(station) == 6 {
			_ = raw.Control(func(fd uintptr) { advertise(int(fd), ifindex, station, asker) })
		}
	}
}

// asksForUs reads a neighbour solicitation, RFC 4861 section 4.3.
func asksForUs(b []byte) bool {
	return len(b) >= 24 && b[0] == ndSolicitation && b[1] == 0 && netip.AddrFrom16([16]byte(b[8:24])) == addr6
}

// arrival reads where a packet came in and with what hop limit, 0 when it is not said.
func arrival(oob []byte) (ifindex, hops int) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, 0
	}
	for _, m := range messages {
		switch {
		case m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 20:
			ifindex = int(binary.NativeEndian.Uint32(m.Data[16:]))
		case m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			hops = int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return ifindex, hops
}

// advertise answers, RFC 4861 section 4.4. A caller that checks whether the address is free (its
// source is unspecified) and all who listen are told that it is not.
func advertise(fd, ifindex int, station net.HardwareAddr, asker *unix.SockaddrInet6) {
	const solicitedFlag, override = 0x40, 0x20
	flags := byte(override | solicitedFlag)
	to := &unix.SockaddrInet6{Addr: asker.Addr, ZoneId: uint32(ifindex)}
	if netip.AddrFrom16(asker.Addr).IsUnspecified() {
		flags = override
		to.Addr = netip.IPv6LinkLocalAllNodes().As16()
	}
	msg := append([]byte{ndAdvertisement, 0, 0, 0, flags, 0, 0, 0}, addr6.AsSlice()...)
	msg = append(msg, 2, 1) // target link-layer address
	msg = append(msg, station...)
	info := unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: uint32(ifindex)})
	_ = unix.Sendmsg(fd, msg, info, to, 0)
}

// arp fills the table that marks the questions for 169.254.169.254 of guests, which the kernel answers.
func (f *firewall) arp(conn *nftables.Conn, t *table) error {
	err := errors.Join(t.addSet(conn, interfaces, nil, nftables.TypeIFIndex),
		t.learned(conn, asking, calledLasts, calledMost, nil, nftables.TypeIFIndex))
	if err != nil {
		return err
	}
	b := &book{conn: conn, table: t.Table}
	b.open(chain{name: "input", hook: nftables.ChainHookRef(0), priority: *nftables.ChainPriorityFilter}) // NF_ARP_IN
	b.add("who has the address?", arpRequest(), interfaceIn(expr.MetaKeyIIF, t.sets[interfaces]), f.markQuestion())
	b.add("who has the address, behind a bridge?", arpRequest(), ourMark(f.mark, true), f.markQuestion())
	b.add("it asks", arpRequest(), ourMark(f.mark, true), rule{&expr.Meta{Key: expr.MetaKeyIIF, Register: key1}, update(t.sets[asking], key1, 0)})
	return nil
}
