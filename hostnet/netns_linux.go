package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// visitor runs functions inside network namespaces, on threads that run nothing else. One that failed
// to come home would be thrown away: a goroutine that ends without unlocking its thread takes the
// thread along.
type visitor struct {
	home *os.File
	id   inode // of home
	work chan visit
}

type visit struct {
	to   *os.File
	do   func() error
	done chan error
}

// visitors is the number of threads: visits mostly wait for the kernel.
const visitors = 8

func newVisitor() (*visitor, error) {
	home, err := openPath("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("the host's own namespace: %w", err)
	}
	v := &visitor{home: home.file, id: home.id, work: make(chan visit)}
	for range visitors {
		go v.run()
	}
	return v, nil
}

func (v *visitor) run() {
	runtime.LockOSThread()
	for w := range v.work {
		if err := unix.Setns(int(w.to.Fd()), unix.CLONE_NEWNET); err != nil {
			if errors.Is(err, unix.EPERM) {
				err = fmt.Errorf("%w (CAP_SYS_ADMIN is needed)", err)
			}
			w.done <- fmt.Errorf("setns: %w", err)
			continue
		}
		err := w.do()
		if back := unix.Setns(int(v.home.Fd()), unix.CLONE_NEWNET); back != nil {
			go v.run()
			w.done <- errors.Join(err, fmt.Errorf("setns to the host's namespace: %w", back))
			return
		}
		w.done <- err
	}
}

// in runs do inside a namespace. What do opens stays there; goroutines that it starts do not.
func (v *visitor) in(ns *os.File, do func() error) error {
	w := visit{to: ns, do: do, done: make(chan error, 1)}
	v.work <- w
	return <-w.done
}

func (v *visitor) close() {
	close(v.work)
	_ = v.home.Close()
}

// inode names a namespace for as long as somebody holds it.
type inode struct{ dev, ino uint64 }

// namespace is one that is held open: its inode cannot become another's, nor can a PID that led to it.
type namespace struct {
	file    *os.File
	id      inode
	face    Face
	path    string   // that leads to it; empty: it is of a process
	pidfd   *os.File // of that process
	process string   // a path by way of it
}

// errAbsent is of what does not exist, or not yet.
var errAbsent = errors.New("does not exist")

// ipNetns is where ip-netns(8) keeps namespaces by name.
const ipNetns = "/run/netns"

func openNamespace(e Endpoint) (*namespace, error) {
	if e.PID != 0 {
		return openProcess(e.PID)
	}
	path := e.Netns
	if !strings.Contains(path, "/") {
		path = filepath.Join(ipNetns, path)
	}
	ns, err := openPath(path)
	if ns != nil {
		ns.path = path
	}
	return ns, err
}

// openProcess holds the process first and its namespace second: if the process is still there after
// that, the namespace was its own.
func openProcess(pid int) (*namespace, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	ns, err := openPath(fmt.Sprintf("/proc/%d/ns/net", pid))
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		err = fmt.Errorf("%w (CAP_SYS_PTRACE is needed)", err)
	case ended(pidfd):
		err = fmt.Errorf("process %d has ended", pid)
	}
	if err != nil {
		_ = pidfd.Close()
		if ns != nil {
			_ = ns.file.Close()
		}
		return nil, err
	}
	ns.pidfd, ns.process = pidfd, fmt.Sprintf("/proc/%d/ns/net", pid)
	return ns, nil
}

func openPath(path string) (*namespace, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, err
	}
	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	var st unix.Stat_t
	switch {
	case err != nil: // ip-netns(8) makes a plain file, and then mounts the namespace on it
		err = errAbsent
	case kind != unix.CLONE_NEWNET:
		err = fmt.Errorf("%s is a namespace of another kind", path)
	default:
		err = unix.Fstat(int(file.Fd()), &st)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &namespace{file: file, id: inode{uint64(st.Dev), st.Ino}}, nil
}

// there says whether the namespace is still what the endpoint names.
func (ns *namespace) there() bool {
	if ns.pidfd != nil {
		return !ended(ns.pidfd)
	}
	var st unix.Stat_t
	return unix.Stat(ns.path, &st) == nil && ns.id == inode{uint64(st.Dev), st.Ino}
}

// netnsid is the host's number for a namespace, by which the host's ends of its links tell where they lead;
// -1: it has none.
func netnsid(file *os.File) int {
	fd := int(file.Fd())
	id, err := netlink.GetNetNsIdByFd(fd)
	if err == nil && id < 0 {
		_ = netlink.SetNetNsIdByFd(fd, -1) // any; it may have got one meanwhile
		id, err = netlink.GetNetNsIdByFd(fd)
	}
	if err != nil {
		return -1
	}
	return id
}

// name is a path that leads to the namespace.
func (ns *namespace) name() string { return cmp.Or(ns.path, ns.process) }

func (ns *namespace) close() {
	_ = ns.file.Close()
	if ns.pidfd != nil {
		_ = ns.pidfd.Close()
	}
}

// ended says whether a process has: its pidfd is then readable.
func ended(pidfd *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0
}
