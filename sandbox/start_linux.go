package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/openimds/openimds/fdpass"
	"golang.org/x/sys/unix"
)

// wardenName is what the warden is called in its first argument.
const wardenName = "openimds-warden"

// Command is one that runs.
type Command struct {
	warden    *exec.Cmd
	link      *fdpass.Conn
	listeners []*net.TCPListener
	netns     uint64
	tables    string // the directory with the namespace's tables of connections

	ended chan struct{}
	exit  exit
	err   error
	once  sync.Once
}

// Start starts a command. An error that wraps [ErrUnavailable] says what the system does not allow.
func Start(cfg Config) (*Command, error) {
	l, far, err := fdpass.Pair()
	if err != nil {
		return nil, err
	}
	c := &Command{link: l, ended: make(chan struct{})}
	c.warden = &exec.Cmd{
		Path: "/proc/self/exe",
		Args: append([]string{wardenName, string(cfg.Network), cfg.Path}, cfg.Args...),
		Env:  cfg.Env, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		ExtraFiles: []*os.File{far}, SysProcAttr: namespaces(),
	}
	err = c.warden.Start()
	_ = far.Close()
	if err != nil {
		_ = l.Close()
		return nil, unavailable(err)
	}
	if err := c.prepare(cfg); err != nil {
		c.end()
		return nil, err
	}
	go c.follow()
	return c, nil
}

// namespaces says what the warden is the first of. Root needs no user namespace, and would lose by
// one: other users' files.
func namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if os.Geteuid() == 0 && capable(unix.CAP_SYS_ADMIN) && capable(unix.CAP_NET_ADMIN) {
		return attr
	}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
	attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	// What it needs in the new namespace, it must keep across the execution of this program. It is not
	// more than pasta keeps, which could not look at its /proc otherwise.
	attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_NET_BIND_SERVICE}
	return attr
}

func capable(capability uint) bool {
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capget(&header, &data[0]) == nil && data[capability/32].Effective&(1<<(capability%32)) != 0
}

// prepare serves the namespace's listeners and lets the command go.
func (c *Command) prepare(cfg Config) error {
	m, err := c.answer()
	if err != nil {
		return err
	}
	if m.Made == nil {
		return errUnexpected
	}
	for _, l := range c.listeners {
		if err := cfg.Serve(l); err != nil {
			return err
		}
	}
	c.netns = m.Made.Netns
	c.tables = tablesOf(c.warden.Process.Pid, c.netns)
	if m, err = c.answer(); err != nil {
		return err
	}
	if m.Notes == nil {
		return errUnexpected
	}
	for _, text := range m.Notes.Text {
		cfg.Note(text)
	}
	return c.link.Send(message{Go: true})
}

var errUnexpected = errors.New("the process that makes the namespace said what was not expected")

// answer waits for the warden's next word, and takes the listeners that come with it.
func (c *Command) answer() (message, error) {
	var m message
	files, err := c.link.Receive(&m)
	for _, f := range files {
		l, lerr := net.FileListener(f)
		_ = f.Close()
		tcp, ok := l.(*net.TCPListener)
		if lerr != nil || !ok {
			err = errors.Join(err, fmt.Errorf("a listener of the namespace: %w", lerr))
			continue
		}
		c.listeners = append(c.listeners, tcp)
	}
	switch {
	case errors.Is(err, io.EOF):
		return m, errors.New("the process that makes the namespace was ended")
	case err != nil:
		return m, err
	case m.Failed != "":
		return m, errors.New(m.Failed)
	}
	return m, nil
}

// follow waits for the command's end.
func (c *Command) follow() {
	defer close(c.ended)
	var m message
	_, err := c.link.Receive(&m)
	switch {
	case err != nil:
		c.err = errors.New("the command was ended together with its namespace")
	case m.Exited != nil:
		c.exit = *m.Exited
	case m.NotRun:
		c.err = notRun{m.Failed}
	default:
		c.err = errors.New(m.Failed)
	}
}

// notRun is [ErrNotRun] in the warden's words.
type notRun struct{ text string }

func (e notRun) Error() string        { return e.text }
func (e notRun) Is(target error) bool { return target == ErrNotRun }

// Signal passes a signal on that this process got, unless the command has got it too: a terminal
// sends its signals to all processes in the foreground.
func (c *Command) Signal(s os.Signal) error {
	number, ok := s.(syscall.Signal)
	if !ok {
		return fmt.Errorf("%v is no signal of this system", s)
	}
	return c.link.Send(message{Signal: int(number)})
}

// Wait waits until the command has ended and returns its exit code, as a shell has it: 128 and its
// number for a signal. Everything that the command has left running is ended, at the latest when the
// context ends.
func (c *Command) Wait(ctx context.Context) (int, error) {
	select {
	case <-c.ended:
	case <-ctx.Done():
		c.end()
		<-c.ended
		return 0, ctx.Err()
	}
	c.end()
	if c.exit.Signal != 0 {
		return 128 + c.exit.Signal, c.err
	}
	return c.exit.Code, c.err
}

// end ends the warden, and with it the namespaces.
func (c *Command) end() {
	c.once.Do(func() {
		_ = c.link.Close()
		_ = c.warden.Wait()
		for _, l := range c.listeners {
			_ = l.Close()
		}
	})
}

// unavailable says why namespaces cannot be made, and how they can be allowed.
func unavailable(err error) error {
	advice := ""
	switch {
	case setting("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		advice = "allow user namespaces with 'sysctl -w kernel.unprivileged_userns_clone=1' as root"
	case setting("/proc/sys/user/max_user_namespaces") == "0":
		advice = "allow user namespaces with 'sysctl -w user.max_user_namespaces=10000' as root"
	case setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		advice = "AppArmor forbids user namespaces: give openimds a profile with 'userns,', or allow them with 'sysctl -w kernel.apparmor_restrict_unprivileged_userns=0' as root"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		advice = "this looks like a container that forbids user namespaces: allow the system calls clone and unshare, for instance with '--security-opt seccomp=unconfined' or '--privileged'"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		advice = "this user has as many namespaces as allowed: see 'sysctl user'"
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		advice = "this kernel has no user namespaces"
	default:
		return fmt.Errorf("a namespace cannot be made: %w", err)
	}
	return fmt.Errorf("%w: %w; %s", ErrUnavailable, err, advice)
}

func setting(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
