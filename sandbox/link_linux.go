package sandbox

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// message is what the caller and the warden tell each other; each has one of the fields.
type message struct {
	// From the warden. Listeners come with their descriptors; Netns is the namespace's inode.
	Listeners *listeners `json:",omitempty"`
	Notes     *notes     `json:",omitempty"` // the network is up, as far as it can be
	Failed    string     `json:",omitempty"`
	Exited    *exit      `json:",omitempty"`
	// From the caller.
	Go     bool `json:",omitempty"`
	Signal int  `json:",omitempty"`
}

type listeners struct {
	Count int
	Netns uint64
}

type notes struct{ Text []string }

// exit is how the command ended.
type exit struct {
	Code   int
	Signal int
}

// link is the connection between the two. Each message is one packet.
type link struct{ conn *net.UnixConn }

// newLink makes both ends; the other is for a child.
func newLink() (*link, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	far := os.NewFile(uintptr(fds[1]), "warden")
	l, err := linkOf(os.NewFile(uintptr(fds[0]), "caller"))
	if err != nil {
		_ = far.Close()
		return nil, nil, err
	}
	return l, far, nil
}

// linkOf takes a descriptor over.
func linkOf(f *os.File) (*link, error) {
	defer func() { _ = f.Close() }() // FileConn has a descriptor of its own
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		_ = c.Close()
		return nil, errors.New("not a socket of the Unix domain")
	}
	return &link{conn}, nil
}

func (l *link) send(m message, files ...*os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = l.conn.WriteMsgUnix(b, rights, nil)
	return err
}

// receive waits for a message; io.EOF: the other end is gone.
func (l *link) receive() (m message, files []*os.File, err error) {
	buf, rights := make([]byte, 64<<10), make([]byte, 256)
	n, rn, _, _, err := l.conn.ReadMsgUnix(buf, rights)
	if err != nil {
		return m, nil, err
	}
	if n == 0 {
		return m, nil, io.EOF
	}
	controls, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil {
		return m, nil, err
	}
	for _, c := range controls {
		fds, err := unix.ParseUnixRights(&c)
		if err != nil {
			return m, nil, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "listener"))
		}
	}
	return m, files, json.Unmarshal(buf[:n], &m)
}

func (l *link) close() { _ = l.conn.Close() }
