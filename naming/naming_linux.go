package naming

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/processes"
	"github.com/openimds/openimds/socketowner"
	"golang.org/x/sys/unix"
)

// Watch makes a listener whose callers are named, until it is closed or the function is called.
func (n *Namer) Watch(l net.Listener, at Place) (watched net.Listener, stop func()) {
	if n == nil {
		if at.Netns != nil {
			_ = at.Netns.Close()
		}
		return l, func() {}
	}
	ctx, stop := context.WithCancel(n.ctx)
	w := &watch{namer: n, waiting: newWaiting(), netns: at.Netns, link: at.Link}
	switch {
	case at.Link != nil:
		n.await()
	case at.Netns == nil:
		w.local = true
		if end, ok := l.Addr().(*net.TCPAddr); ok {
			n.listeners = append(n.listeners, end.AddrPort())
		}
	}
	if !w.local { // whoever calls at a listener of this namespace may call others as well
		w.known.changed = n.theirs.replace
	}
	n.work.Go(func() { w.run(ctx) })
	return imds.Watched(l, w.see), stop
}

// NamespaceOf is the network namespace of a socket, which need not be this process's.
func NamespaceOf(l *net.TCPListener) (*os.File, error) {
	raw, err := l.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fd int
	if controlErr := raw.Control(func(s uintptr) { fd, err = unix.IoctlRetInt(int(s), unix.SIOCGSKNS) }); controlErr != nil {
		return nil, controlErr
	}
	if err != nil {
		return nil, os.NewSyscallError("ioctl SIOCGSKNS", err)
	}
	return os.NewFile(uintptr(fd), "network namespace"), nil
}

// watch looks for the callers of one listener.
type watch struct {
	*waiting
	namer *Namer
	netns *os.File // of the listener; nil: this process's
	link  func() string
	local bool // in this process's namespace
	known cookies

	// Of the goroutine.
	places   []*socketowner.Finder // one for each namespace that callers may be in
	resolved time.Time             // when these were found out
	recent   []int                 // processes that have called, the latest first
}

// Where metadata is for guests, whatever a packet's way from there.
var (
	metadata4 = netip.MustParseAddrPort("169.254.169.254:80")
	metadata6 = netip.MustParseAddrPort("[fd00:ec2::254]:80")
)

func (w *watch) run(ctx context.Context) {
	defer w.end()
	defer w.close()
	defer func() {
		if w.netns != nil {
			_ = w.netns.Close()
		}
	}()
	defer w.known.end()
	if w.namer.theirs.some() { // this guest's first caller may be one that called somebody else before
		w.places, w.resolved = w.namespaces(), time.Now()
		w.known.are(w.places)
	}
	rest := time.NewTimer(idle)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-rest.C:
			w.close()
		case <-w.more:
			var calls []imds.Sighting
			for s, ok := w.take(); ok; s, ok = w.take() {
				w.namer.opened(unnamed{s, w})
				calls = append(calls, s)
			}
			for _, s := range calls {
				if ctx.Err() == nil {
					w.look(s)
				}
			}
			rest.Reset(idle)
		}
	}
}

// close gives back what is open.
func (w *watch) close() {
	for _, p := range w.places {
		_ = p.Close()
	}
	w.places, w.resolved = nil, time.Time{}
}

// look finds the process of one call. What it does not find the kernel may still tell.
func (w *watch) look(s imds.Sighting) {
	socket, found := w.socket(s)
	if !found {
		return
	}
	pid, found := w.holder(socket)
	if !found {
		return
	}
	p := w.namer.names.Look(pid)
	if w.ended(p) {
		return
	}
	w.remember(pid)
	if !w.namer.open.take(unnamed{s, w}) {
		return // the kernel was faster
	}
	select {
	case w.namer.found <- sighting{s, p}:
	default: // too many at once
	}
}

// ended says whether the process has ended while it was looked at: with a part of what it was it would be another caller.
func (w *watch) ended(p processes.Process) bool {
	if p.Exe == "" || len(p.Argv) == 0 {
		return true
	}
	return (p.UID < 0 || p.Cgroup == "") && w.namer.names.Start(p.PID) != p.Start
}

// resolveEvery is how often it is found out anew where callers are, while they are not found there.
const resolveEvery = 5 * time.Second

// socket finds the caller's end of the connection.
func (w *watch) socket(s imds.Sighting) (uint64, bool) {
	for again := range 2 {
		if w.places == nil || again == 1 {
			if time.Since(w.resolved) < resolveEvery {
				return 0, false
			}
			w.close()
			w.places, w.resolved = w.namespaces(), time.Now()
			w.known.are(w.places)
		}
		metadata := metadata4
		if s.Source.Addr().Is6() {
			metadata = metadata6
		}
		for _, place := range w.places {
			for _, service := range []netip.AddrPort{metadata, s.Service} {
				found, err := place.Find(s.Source, service)
				if err == nil {
					return found.Inode, true
				}
				if !errors.Is(err, socketowner.ErrUnknown) {
					w.namer.log.Debug("a caller is not named", "error", err)
				}
			}
		}
		if w.link == nil {
			return 0, false // the namespace does not change
		}
	}
	return 0, false
}

// newest is how many of the latest processes are looked at first.
const newest = 64

// holder finds the process that has the socket open: first among those that have called before, then among the
// latest, then among all.
func (w *watch) holder(socket uint64) (pid int, found bool) {
	if pid, found := processes.HolderAmong(socket, w.recent); found {
		return pid, true
	}
	if pid, found := processes.HolderAmong(socket, processes.Newest(newest)); found {
		return pid, true
	}
	// Where the kernel tells as well, it is not kept waiting: it tells before all could be looked at.
	if (w.link != nil || w.local) && w.namer.kernel.Load() {
		return 0, false
	}
	w.namer.scans.do(time.Now, func() { pid, found = processes.Holder(socket, 0) })
	return pid, found
}

// mostRecent is how many processes are remembered that have called.
const mostRecent = 8

func (w *watch) remember(pid int) {
	recent := []int{pid}
	for _, other := range w.recent {
		if other != pid && len(recent) < mostRecent {
			recent = append(recent, other)
		}
	}
	w.recent = recent
}
