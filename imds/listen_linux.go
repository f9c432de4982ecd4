package imds

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// deferAccept has the kernel hold a connection back until its request is there, so that most are
// served in one step. After that many seconds without data it is passed on as it is.
var deferAccept control = func(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		// A kernel that cannot is no worse than one that does not: the connection is waited for.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, int(headTimeout.Seconds()))
	})
}
