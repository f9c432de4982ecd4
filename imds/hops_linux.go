package imds

import (
	"encoding/binary"
	"unsafe"

	"github.com/openimds/openimds"
	"golang.org/x/sys/unix"
)

// neededHopLimit is the least hop limit with which packets reach the peer; 0 if that is not known.
// The kernel keeps how many hops the packet had left that opened the connection. Systems start at 64,
// 128 or 255 of them, and the way back is taken to be as long.
func neededHopLimit(fd int, overIPv6 bool) int {
	left := hopsLeft(fd, overIPv6)
	for _, start := range []int{64, 128, 255} {
		if left > 0 && left <= start && start-left < openimds.MaxHopLimit {
			return start - left + 1
		}
	}
	return 0
}

// hopsLeft is how many hops the peer's opening packet had left; 0: not known.
func hopsLeft(fd int, overIPv6 bool) int {
	level, want, options, is := unix.IPPROTO_IP, unix.IP_RECVTTL, unix.IP_PKTOPTIONS, int32(unix.IP_TTL)
	if overIPv6 {
		level, want, options, is = unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, unix.IPV6_2292PKTOPTIONS, unix.IPV6_HOPLIMIT
	}
	if unix.SetsockoptInt(fd, level, want, 1) != nil {
		return 0
	}
	var buf [256]byte
	size := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(options),
		uintptr(unsafe.Pointer(&buf)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	messages, err := unix.ParseSocketControlMessage(buf[:size])
	if err != nil {
		return 0
	}
	for _, m := range messages {
		if m.Header.Level == int32(level) && m.Header.Type == is && len(m.Data) >= 4 {
			return int(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return 0
}
