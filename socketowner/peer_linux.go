package socketowner

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// PeerIsUs says whether the other end of a socket of the Unix domain was connected by this process's user or by root. A
// socket's mode does not say so alone: it is set a moment after others can connect.
func PeerIsUs(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	var peer *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); cerr != nil || err != nil {
		return false
	}
	return peer.Uid == uint32(os.Geteuid()) || peer.Uid == 0
}
