package trace

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

// Addresses of the services that are looked for, and their port. The first of each family is the metadata
// service's, the others give credentials to containers (ECS, EKS Pod Identity).
var (
	addrs4 = []netip.Addr{netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("169.254.170.2"), netip.MustParseAddr("169.254.170.23")}
	addrs6 = []netip.Addr{netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23")}
)

const servicePort = 80

// eventKind is what a record of the kernel's tells.
type eventKind uint32

const (
	kindConnect     eventKind = iota + 1 // who connects
	kindConnectArgs                      // the same, with the command line
	kindSent                             // bytes to the service
	kindAnswer                           // the first bytes of an answer
)

// lossKind is what can be lost.
type lossKind uint32

const (
	lostConnect lossKind = iota // who makes a connection: no room
	lostSent                    // what it sends
	lostAnswer                  // what is answered
	sampledOut                  // connections that were not looked at, on purpose
	lossKinds
)

// Places in a record; the programs write them in the machine's byte order. All begin alike.
const (
	offKind   = 0
	offLen    = 4 // of the command line or the payload
	offCookie = 8
	offTime   = 16 // nanoseconds of the monotonic clock
	offAddr   = 24 // of the service, IPv4 mapped

	offPID      = 40 // process in the upper half, thread in the lower
	offUID      = 48 // user in the lower half
	offCgroup   = 56
	offMM       = 64
	offArgStart = 72
	offNetns    = 80 // cookie of the socket's network namespace
	offComm     = 88
	commSize    = 16
	connectSize = 104
	offExec     = 104
	execSize    = 256
	offArgs     = 360
	argsSize    = 1024

	connectArgsSize = offArgs + argsSize

	offSeq          = 40 // of TCP, in the network's byte order
	offTTL          = 44
	offSocketCgroup = 48
	offTotal        = 56 // bytes of payload in the packet
	offPorts        = 60 // source and destination, in the network's byte order
	offSource       = 64 // address of the caller, IPv4 mapped, as the service's
	offPayload      = 80
	smallPayload    = 512
	largePayload    = 4096
	answerStart     = 12 // "HTTP/1.1 200"
	answerRoom      = 16
)

// image tells one program that a process has executed from every other.
type image struct {
	pid      int
	mm       uint64
	argStart uint64
}

// event is a record, as far as it is of that kind.
type event struct {
	kind   eventKind
	cookie uint64
	at     int64 // nanoseconds of the monotonic clock
	addr   netip.Addr

	image  image // mm and argStart 0: the kernel did not tell
	uid    int
	netns  uint64 // cookie of the network namespace; 0: the kernel did not tell
	cgroup uint64 // of the process, or of the socket
	comm   string
	exec   string // what was executed, as it was called
	args   []byte // the command line; nil: not told

	seq     uint32
	ttl     int
	source  netip.AddrPort // the caller's end
	total   int            // bytes that were sent, of which payload are the first
	payload []byte         // valid until the next event is read
}

// decode reads a record; false: it is none.
func decode(b []byte) (event, bool) {
	if len(b) < offPayload {
		return event{}, false
	}
	word := binary.NativeEndian.Uint32
	e := event{
		kind:   eventKind(word(b[offKind:])),
		cookie: binary.NativeEndian.Uint64(b[offCookie:]),
		at:     int64(binary.NativeEndian.Uint64(b[offTime:])),
	}
	addr, _ := netip.AddrFromSlice(b[offAddr : offAddr+16])
	e.addr = addr.Unmap()
	size := int(word(b[offLen:]))
	switch e.kind {
	case kindConnect, kindConnectArgs:
		return e, e.decodeCaller(b, size)
	case kindSent, kindAnswer:
		if size > len(b)-offPayload {
			return event{}, false
		}
		e.seq = binary.BigEndian.Uint32(b[offSeq:])
		e.ttl = int(word(b[offTTL:]))
		e.cgroup = binary.NativeEndian.Uint64(b[offSocketCgroup:])
		e.total = int(word(b[offTotal:]))
		source, _ := netip.AddrFromSlice(b[offSource : offSource+16])
		e.source = netip.AddrPortFrom(source.Unmap(), binary.BigEndian.Uint16(b[offPorts:]))
		e.payload = b[offPayload : offPayload+size]
		return e, true
	}
	return event{}, false
}

func (e *event) decodeCaller(b []byte, size int) bool {
	if len(b) < connectSize {
		return false
	}
	long := binary.NativeEndian.Uint64
	e.image = image{int(long(b[offPID:]) >> 32), long(b[offMM:]), long(b[offArgStart:])}
	e.uid = int(uint32(long(b[offUID:])))
	e.cgroup = long(b[offCgroup:])
	e.netns = long(b[offNetns:])
	e.comm = untilZero(b[offComm : offComm+commSize])
	if e.kind == kindConnect {
		return true
	}
	if len(b) < connectArgsSize || size > argsSize {
		return false
	}
	e.exec = untilZero(b[offExec : offExec+execSize])
	if size > 0 {
		e.args = bytes.Clone(b[offArgs : offArgs+size])
	}
	return true
}

func untilZero(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}
