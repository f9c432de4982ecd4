package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/openimds/openimds/fdpass"
	"golang.org/x/sys/unix"
)

// warden is the first process of the command's namespaces.
type warden struct {
	link    *fdpass.Conn
	network Network
	path    string
	args    []string

	// inside is of the one thread that is in the network namespace: what is sent there runs there.
	inside chan func()

	mu      sync.Mutex
	command int                          // its process; 0: none yet
	got     map[syscall.Signal]time.Time // signals that came here too
}

// Warden makes this process the warden if it was started as one, and then does not return. A program
// that calls [Start] calls it first of all.
func Warden() {
	if len(os.Args) < 4 || os.Args[0] != wardenName {
		return
	}
	l, err := fdpass.Of(os.NewFile(3, "caller"))
	if err != nil {
		os.Exit(1)
	}
	w := &warden{
		link: l, network: Network(os.Args[1]), path: os.Args[2], args: os.Args[3:],
		inside: make(chan func()), got: map[syscall.Signal]time.Time{},
	}
	w.catch()
	if err := w.run(); err != nil {
		_ = l.Send(message{Failed: err.Error(), NotRun: errors.Is(err, ErrNotRun)})
		os.Exit(1)
	}
	os.Exit(0)
}

// run lives through the command's life.
func (w *warden) run() error {
	if err := isolateMounts(); err != nil {
		return err
	}
	go func() {
		runtime.LockOSThread()
		for do := range w.inside {
			do()
		}
	}()
	made := make(chan error)
	var ns namespace
	w.inside <- func() {
		var err error
		ns, err = makeNamespace()
		made <- err
	}
	if err := <-made; err != nil {
		return err
	}
	if err := ns.hand(w.link); err != nil {
		return err
	}
	text := connect(w.network, ns.path)
	linked := make(chan error)
	w.inside <- func() { linked <- behindLinks() }
	if err := <-linked; err != nil {
		text = append(text, fmt.Sprintf("software that binds to a network interface does not find the metadata service: %v", err))
	}
	if err := w.link.Send(message{Notes: &notes{text}}); err != nil {
		return err
	}
	var m message
	if _, err := w.link.Receive(&m); err != nil || !m.Go {
		return errors.New("the caller is gone")
	}
	started := make(chan error)
	w.inside <- func() { started <- w.start() }
	if err := <-started; err != nil {
		return err
	}
	go w.obey()
	return w.link.Send(message{Exited: w.reap()})
}

// isolateMounts makes /proc tell of the namespace's own processes. What is mounted outside later is
// still seen inside.
func isolateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	// In a container whose /proc is covered in places the kernel refuses; then numbers of processes
	// inside are not those in /proc, which few programs mind.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}

// start starts the command, on the thread that is in the namespace, with no more privileges than its
// user has.
func (w *warden) start() error {
	if err := dropInheritable(); err != nil {
		return fmt.Errorf("privileges for the command: %w", err)
	}
	p, err := os.StartProcess(w.path, w.args, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	switch {
	case errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%s %w: it is neither a program of this machine nor a script whose first line names its interpreter", w.args[0], ErrNotRun)
	case errors.Is(err, unix.ENOENT): // it was found, so it is not the command that is missing
		return fmt.Errorf("%s %w: the interpreter that it names is not there", w.args[0], ErrNotRun)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s %w: the system does not permit it", w.args[0], ErrNotRun)
	case err != nil:
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.command = p.Pid
	return p.Release()
}

// dropInheritable keeps what is executed on this thread from getting this program's capabilities.
func dropInheritable() error {
	var data [2]unix.CapUserData
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &data[0]); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
}

// reap waits for the command, and buries whatever else ends meanwhile: orphans come to the first
// process of a namespace.
func (w *warden) reap() *exit {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return &exit{Code: 1}
		case pid == w.command && status.Signaled():
			return &exit{Signal: int(status.Signal())}
		case pid == w.command && status.Exited():
			return &exit{Code: status.ExitStatus()}
		}
	}
}

// catch notes the signals that come here, and keeps them from ending the warden. Those that are
// ignored from outside (nohup) stay so, here and for the command.
func (w *warden) catch() {
	signals := make(chan os.Signal, 16)
	for _, s := range Signals() {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	go func() {
		for s := range signals {
			w.mu.Lock()
			w.got[s.(syscall.Signal)] = time.Now()
			w.mu.Unlock()
		}
	}()
}

// obey passes on what the caller sends, and ends all when the caller is gone.
func (w *warden) obey() {
	for {
		var m message
		_, err := w.link.Receive(&m)
		if errors.Is(err, io.EOF) || err != nil {
			os.Exit(1)
		}
		if m.Signal != 0 {
			go w.pass(syscall.Signal(m.Signal))
		}
	}
}

// A signal from a terminal, or for a whole process group, comes to the caller, the warden and the
// command at the same time, give or take. Tests give more.
var together = 50 * time.Millisecond

// pass sends the command a signal that the caller got, unless the command has got it as well.
func (w *warden) pass(s syscall.Signal) {
	time.Sleep(together)
	w.mu.Lock()
	defer w.mu.Unlock()
	if time.Since(w.got[s]) > 4*together {
		_ = syscall.Kill(w.command, s)
	}
}

// Signals are those that a caller passes on with [Command.Signal].
func Signals() []os.Signal {
	return []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH}
}

// found is a program by that name, or "".
func found(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}
