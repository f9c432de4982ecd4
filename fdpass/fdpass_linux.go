package fdpass

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/openimds/openimds/socketowner"
	"golang.org/x/sys/unix"
)

// maxMessage is the most bytes of one message.
const maxMessage = 64 << 10

// maxFiles is the most open files that come with one message.
const maxFiles = 16

// Conn is one end of a connection. Each message is one packet.
type Conn struct{ conn *net.UnixConn }

// Pair makes both ends; the far one is for a child.
func Pair() (near *Conn, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	far = os.NewFile(uintptr(fds[1]), "far end")
	near, err = Of(os.NewFile(uintptr(fds[0]), "near end"))
	if err != nil {
		_ = far.Close()
		return nil, nil, err
	}
	return near, far, nil
}

// Of makes a connection of an open socket, which it takes over.
func Of(f *os.File) (*Conn, error) {
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
	return &Conn{conn}, nil
}

// Send sends a message as JSON. The files stay the sender's to close.
func (c *Conn) Send(m any, files ...*os.File) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(b) > maxMessage {
		return fmt.Errorf("a message of %d bytes is too long", len(b))
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = c.conn.WriteMsgUnix(b, rights, nil)
	return err
}

// Receive waits for a message; io.EOF: the other end is gone. The files are the receiver's to close,
// also when there is an error.
func (c *Conn) Receive(m any) (files []*os.File, err error) {
	buf, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4*maxFiles))
	n, rn, _, _, err := c.conn.ReadMsgUnix(buf, rights)
	if err != nil {
		return nil, err
	}
	controls, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil {
		return nil, err
	}
	for _, control := range controls {
		fds, err := unix.ParseUnixRights(&control)
		if err != nil {
			return files, err
		}
		for _, fd := range fds { // Go receives them as closed on exec
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	if n == 0 {
		return files, io.EOF
	}
	return files, json.Unmarshal(buf[:n], m)
}

// Close closes this end.
func (c *Conn) Close() error { return c.conn.Close() }

// Listener waits for connections at a path.
type Listener struct {
	dir *os.File
	l   *net.UnixListener
}

// Listen makes a socket of that name in a directory, in place of one that a killed process left. The
// directory says who may connect; besides, peers are of this user, or root.
func Listen(dir, name string) (*Listener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	path := inside(d, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		_ = d.Close()
		return nil, err
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err == nil {
		if err = os.Chmod(path, 0o600); err != nil {
			_ = l.Close()
		}
	}
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return &Listener{dir: d, l: l}, nil
}

// inside is a short path to a name in an open directory: a socket's path has at most 107 bytes
// (unix(7)), and that of a directory may have more.
func inside(d *os.File, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name) }

// Accept waits for a connection.
func (l *Listener) Accept() (*Conn, error) {
	for {
		conn, err := l.l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		if socketowner.PeerIsUs(conn) {
			return &Conn{conn}, nil
		}
		_ = conn.Close()
	}
}

// Close takes the socket away.
func (l *Listener) Close() error {
	err := l.l.Close() // removes the file too
	return errors.Join(err, l.dir.Close())
}

// Dial connects to the socket of that name in a directory.
func Dial(dir, name string) (*Conn, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: inside(d, name), Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return &Conn{conn}, nil
}
