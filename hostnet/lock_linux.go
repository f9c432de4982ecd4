package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// lock is what makes a Host the only one of its network namespace. It is a table of nftables that
// belongs to a socket: to make one takes CAP_NET_ADMIN, so that no other user of the machine can; it is
// the namespace's own, so that containers that share it exclude each other whatever files they see; and
// it goes with the process.
type lock struct {
	table *os.File     // the socket; nil: this kernel has no such tables
	name  net.Listener // that earlier releases look at; nil: somebody else's
}

const lockTable = tableName + "-lock"

// lockName is an abstract one, which anybody in the namespace can take. So it says something only if a
// process with our rights has it.
const lockName = "@openimds/hostnet"

// takeLock takes the lock, or says why not: ErrBusy.
func takeLock(log *slog.Logger) (*lock, error) {
	table, err := ownTable()
	if err != nil {
		return nil, err
	}
	l := &lock{table: table}
	l.name, err = net.Listen("unix", lockName)
	if errors.Is(err, unix.EADDRINUSE) {
		uid, known := lockHolder()
		if known && (uid == 0 || int(uid) == os.Geteuid()) {
			l.release()
			return nil, ErrBusy
		}
		log.Warn("a program without our rights holds the name of this host's lock; it is ignored", "name", lockName, "uid", uid)
		return l, nil
	}
	if err != nil {
		l.release()
		return nil, fmt.Errorf("%s: %w", lockName, err)
	}
	return l, nil
}

func (l *lock) release() {
	if l.name != nil {
		_ = l.name.Close()
	}
	if l.table != nil {
		_ = l.table.Close()
	}
}

// lockHolder says whose the name is. Who has it and does not listen, or lets nobody connect, is no
// openimds.
func lockHolder() (uid uint32, known bool) {
	c, err := net.DialTimeout("unix", lockName, time.Second)
	if err != nil {
		return 0, false
	}
	defer func() { _ = c.Close() }()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, false
	}
	var cred *unix.Ucred
	if cerr := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); cerr != nil || err != nil {
		return 0, false
	}
	return cred.Uid, true
}

// ownTable makes a table that is there for as long as the file is open; nil where the kernel cannot.
func ownTable() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	file := os.NewFile(uintptr(fd), "lock of the host's network")
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
	if err == nil {
		err = unix.Sendto(fd, ownTableRequest(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err == nil {
		err = acknowledged(fd)
	}
	if err == nil {
		return file, nil
	}
	_ = file.Close()
	switch {
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EPERM) && tableThere(lockTable):
		return nil, ErrBusy
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL): // before Linux 5.12
		return nil, nil
	}
	return nil, fmt.Errorf("table %s of nftables: %w%s", lockTable, err, hint(err))
}

// ownTableRequest is a batch of one message, which the library cannot make: it knows no flags of tables.
func ownTableRequest() []byte {
	const tableOwner = 2 // NFT_TABLE_F_OWNER, linux/netfilter/nf_tables.h
	attr := func(b []byte, kind uint16, data []byte) []byte {
		b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(data)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = append(b, data...)
		return append(b, make([]byte, (4-len(data)%4)%4)...)
	}
	message := func(b []byte, kind, flags uint16, family byte, resource uint16, attrs []byte) []byte {
		b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+4+len(attrs)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
		b = append(b, make([]byte, 8)...)        // sequence and port
		b = append(b, family, unix.NFNETLINK_V0) // nfgenmsg
		b = binary.BigEndian.AppendUint16(b, resource)
		return append(b, attrs...)
	}
	attrs := attr(nil, unix.NFTA_TABLE_NAME, []byte(lockTable+"\x00"))
	attrs = attr(attrs, unix.NFTA_TABLE_FLAGS, binary.BigEndian.AppendUint32(nil, tableOwner))
	b := message(nil, unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	b = message(b, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWTABLE, unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		unix.NFPROTO_INET, 0, attrs)
	return message(b, unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
}

func acknowledged(fd int) error {
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return err
	}
	if n < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(buf[4:]) != unix.NLMSG_ERROR {
		return errors.New("no acknowledgement")
	}
	if errno := int32(binary.NativeEndian.Uint32(buf[unix.SizeofNlMsghdr:])); errno != 0 {
		return unix.Errno(-errno)
	}
	return nil
}

func tableThere(name string) bool {
	err := query(unix.NFT_MSG_GETTABLE, 0, nftables.TableFamilyINet, func([]byte) bool { return true }, named(unix.NFTA_TABLE_NAME, name))
	return err == nil
}
