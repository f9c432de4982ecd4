package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"time"

	"github.com/openimds/openimds/processes"
	"golang.org/x/sys/unix"
)

// packets is the source of events for where no program may be loaded: a packet socket for what is sent and
// answered, sock_diag for whose socket that is. It sees this network namespace, and who ends before it was looked
// for is unknown.
type packets struct {
	fd     int
	buffer []byte
	ready  []event // to be returned next
	flows  map[flow]uint64
	order  []flow
	last   uint64 // cookie that was given last
	mask   uint64
	lost   [lossKinds]uint64

	testingWithin func(func()) // asks in another network namespace
}

// flow is a connection from here to a service.
type flow struct{ local, remote netip.AddrPort }

// mostFlows is how many connections are remembered.
const mostFlows = 4096

// openPackets makes the socket.
func openPackets() (*packets, error) {
	// Outgoing packets are given to those only who want all protocols. With 0 first, none comes before the filter.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("packet socket", err)
	}
	p := &packets{fd: fd, buffer: make([]byte, 64<<10), flows: map[flow]uint64{}}
	filter := serviceFilter()
	if err := errors.Join(
		os.NewSyscallError("filter of the packet socket", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})),
		os.NewSyscallError("buffer of the packet socket", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)),
		os.NewSyscallError("binding the packet socket", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(be16(unix.ETH_P_ALL))})),
	); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return p, nil
}

// mayUsePackets says whether this process may make a packet socket.
func mayUsePackets() bool {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// serviceFilter lets packets from and to the services pass, from the header of IP on (linux/filter.h).
func serviceFilter() []unix.SockFilter {
	var f []unix.SockFilter
	load := func(size uint16, at uint32) {
		f = append(f, unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: at})
	}
	ret := func(k uint32) { f = append(f, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}) }
	// unless skips as many instructions as follow if the word is not k.
	unless := func(k uint32, skip uint8) {
		f = append(f, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: k})
	}
	const whole = 0xffff
	ends := func(at [2]uint32, words []uint32) {
		for _, offset := range at {
			load(unix.BPF_W, offset)
			for _, w := range words {
				unless(w, 1)
				ret(whole)
			}
		}
		ret(0)
	}
	var v4 []uint32
	for _, a := range addrs4 {
		v4 = append(v4, binary.BigEndian.Uint32(a.AsSlice()))
	}
	load(unix.BPF_H, 0xfffff000) // SKF_AD_OFF + SKF_AD_PROTOCOL
	size4 := uint8(2*(1+2*len(v4)) + 1)
	unless(unix.ETH_P_IP, size4)
	ends([2]uint32{16, 12}, v4)
	unless(unix.ETH_P_IPV6, 7)
	ends([2]uint32{24, 8}, []uint32{binary.BigEndian.Uint32(addrs6[0].AsSlice())})
	ret(0)
	return f
}

func (p *packets) close() { _ = unix.Close(p.fd) }

func (p *packets) lookAt(n uint) error {
	p.mask = 1<<n - 1
	return nil
}

func (p *packets) losses() [lossKinds]uint64 {
	if s, err := unix.GetsockoptTpacketStats(p.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		p.lost[lostSent] += uint64(s.Drops) // the kernel begins anew each time
	}
	return p.lost
}

func (p *packets) next(until time.Time) (event, error) {
	for {
		if len(p.ready) > 0 {
			e := p.ready[0]
			p.ready = p.ready[1:]
			return e, nil
		}
		n, from, err := unix.Recvfrom(p.fd, p.buffer, 0)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ENETDOWN):
		case errors.Is(err, unix.EAGAIN):
			wait := time.Until(until)
			if wait <= 0 {
				return event{}, os.ErrDeadlineExceeded
			}
			fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
			if _, err := unix.Poll(fds, int(wait.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
				return event{}, os.NewSyscallError("poll", err)
			}
		case err != nil:
			return event{}, os.NewSyscallError("recvfrom", err)
		default:
			if ll, ok := from.(*unix.SockaddrLinklayer); ok {
				p.take(p.buffer[:n], ll.Pkttype == unix.PACKET_OUTGOING)
			}
		}
	}
}

// segment is what a packet of TCP has.
type segment struct {
	from, to netip.AddrPort
	ttl      int
	seq      uint32
	syn      bool // begins a connection
	payload  []byte
}

// take makes events of a packet.
func (p *packets) take(b []byte, outgoing bool) {
	s, ok := parseSegment(b)
	if !ok {
		return
	}
	service, of := s.to, flow{s.from, s.to}
	if !outgoing {
		service, of = s.from, flow{s.to, s.from}
	}
	if service.Port() != servicePort || !isService(service.Addr()) {
		return
	}
	if p.mask != 0 && uint64(of.local.Port())*0x9e3779b97f4a7c15>>40&p.mask != 0 {
		if outgoing && s.syn {
			p.lost[sampledOut]++
		}
		return
	}
	e := event{at: monotonic(), addr: service.Addr(), seq: s.seq, ttl: s.ttl, source: of.local, total: len(s.payload), payload: bytes.Clone(s.payload)}
	switch {
	case outgoing && s.syn:
		p.connected(of, e)
	case outgoing && len(s.payload) > 0:
		if _, known := p.flows[of]; !known {
			p.connected(of, e)
		}
		e.kind, e.cookie = kindSent, p.flows[of]
		p.ready = append(p.ready, e)
	case !outgoing && bytes.HasPrefix(s.payload, []byte("HTTP")) && p.flows[of] != 0:
		e.kind, e.cookie = kindAnswer, p.flows[of]
		p.ready = append(p.ready, e)
	}
}

// connected looks for whose a connection is.
func (p *packets) connected(of flow, e event) {
	p.last++
	if len(p.order) == mostFlows {
		delete(p.flows, p.order[0])
		p.order = p.order[1:]
	}
	if _, again := p.flows[of]; !again {
		p.order = append(p.order, of)
	}
	p.flows[of] = p.last
	e.kind, e.cookie, e.uid, e.payload = kindConnect, p.last, -1, nil
	family := byte(unix.AF_INET)
	if of.local.Addr().Is6() {
		family = unix.AF_INET6
	}
	var inode uint64
	ask := func() {
		_ = diag(family, func(s tcpSocket) { // what cannot be found out stays unknown
			if s.local == of.local && s.remote == of.remote {
				inode, e.uid = s.inode, s.uid
			}
		})
	}
	if p.testingWithin != nil {
		p.testingWithin(ask)
	} else {
		ask()
	}
	if inode != 0 {
		e.image.pid, _ = processes.Holder(inode, 0)
	}
	p.ready = append(p.ready, e)
}

func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it does not fail
	return ts.Nano()
}

// parseSegment reads a packet from the header of IP on.
func parseSegment(b []byte) (s segment, ok bool) {
	if len(b) < 20 {
		return s, false
	}
	var from, to netip.Addr
	switch b[0] >> 4 {
	case 4:
		head, size := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if b[9] != protocolTCP || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 || head < 20 || size < head || size > len(b) && len(b) < 1<<15 {
			return s, false
		}
		from, to, s.ttl = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), int(b[8])
		b = b[head:min(size, len(b))]
	case 6:
		if len(b) < 40 {
			return s, false
		}
		from, to, s.ttl = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40])), int(b[7])
		if b, ok = overExtensions(b[6], b[40:]); !ok {
			return s, false
		}
	default:
		return s, false
	}
	if len(b) < 20 || int(b[12]>>4)*4 > len(b) || b[12]>>4 < 5 {
		return s, false
	}
	s.from = netip.AddrPortFrom(from, binary.BigEndian.Uint16(b))
	s.to = netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2:]))
	s.seq = binary.BigEndian.Uint32(b[4:])
	s.syn = b[13]&0x12 == 0x02
	s.payload = b[int(b[12]>>4)*4:]
	return s, true
}

// overExtensions skips what stands between the headers of IPv6 and TCP.
func overExtensions(next byte, b []byte) ([]byte, bool) {
	for range extensionHeaders {
		size := 0
		if next == protocolTCP {
			return b, true
		}
		if len(b) < 8 {
			return nil, false
		}
		switch next {
		case hopByHop, routing, destOpt:
			size = (int(b[1]) + 1) * 8
		case auth:
			size = (int(b[1]) + 2) * 4
		case fragment:
			if binary.BigEndian.Uint16(b[2:])&0xfff8 != 0 {
				return nil, false
			}
			size = 8
		default:
			return nil, false
		}
		if size > len(b) {
			return nil, false
		}
		next, b = b[0], b[size:]
	}
	return b, next == protocolTCP
}
