package imds

import (
	"errors"
	"net"

	"golang.org/x/sys/windows"
)

// setHopLimit makes all that still leaves on the connection travel at most limit hops.
func setHopLimit(c net.Conn, limit int) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return errors.New("not a TCP connection")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	level, option := windows.IPPROTO_IP, windows.IP_TTL
	if isIPv6(tcp.LocalAddr()) {
		level, option = windows.IPPROTO_IPV6, windows.IPV6_UNICAST_HOPS
	}
	var serr error
	if err := raw.Control(func(fd uintptr) {
		serr = windows.SetsockoptInt(windows.Handle(fd), level, option, limit)
	}); err != nil {
		return err
	}
	return serr
}
