//go:build unix

package imds

import (
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// setHopLimit makes all that still leaves on the connection travel at most limit hops. It stays set
// for the life of the socket: put back too early, a retransmission would carry the token further
// than the answer itself may go.
func setHopLimit(c net.Conn, limit int) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return errors.New("not a TCP connection")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	overIPv6 := isIPv6(tcp.LocalAddr())
	var serr error
	if err := raw.Control(func(fd uintptr) { serr = setHopLimitFD(int(fd), overIPv6, limit) }); err != nil {
		return err
	}
	return serr
}

func setHopLimitFD(fd int, overIPv6 bool, limit int) error {
	if overIPv6 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, limit)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, limit)
}
