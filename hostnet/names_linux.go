package hostnet

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// watchNames tells of changes among the named namespaces until the context ends. Where it cannot,
// looking again from time to time has to do.
func watchNames(ctx context.Context) <-chan struct{} {
	out := make(chan struct{}, 1)
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return out
	}
	file := os.NewFile(uintptr(fd), "inotify")
	context.AfterFunc(ctx, func() { _ = file.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			watch(file)
			if _, err := file.Read(buf); err != nil {
				return
			}
			notify(ctx, out)
		}
	}()
	return out
}

// watch watches the directory of the names, or the one above: it comes with the first name.
func watch(file *os.File) {
	raw, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if _, err := unix.InotifyAddWatch(int(fd), ipNetns, unix.IN_CREATE|unix.IN_DELETE|unix.IN_MOVE); err != nil {
			_, _ = unix.InotifyAddWatch(int(fd), filepath.Dir(ipNetns), unix.IN_CREATE)
		}
	})
}

// notify tells more than once: ip-netns(8) makes a file first, and mounts the namespace on it a moment
// later, of which no event tells.
func notify(ctx context.Context, out chan<- struct{}) {
	for _, wait := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond} {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		select {
		case out <- struct{}{}:
		default:
		}
	}
}
