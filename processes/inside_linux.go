package processes

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The packages of a container are told by files of the container's own, and whoever is root there may put anything in their
// place: links that lead out, pipes, devices, file systems that never answer, files without end, names that are none. So
// a search stays within the root of the process and on the file system of that root, which has to be one of the kernel's own;
// it opens regular files alone; what it reads, and how long it takes, is bounded, for one search and for all together. What
// the search then has not found is unknown.

const (
	// mostInside is how many bytes one search reads, and mostNames how many names of files it looks at.
	mostInside = 64 << 20
	mostNames  = 20_000
	// searchSpare is how long searches may take together at once, and searchShare the part of the time that they may take for
	// longer: one of so many.
	searchSpare = 2 * time.Second
	searchShare = 50
	// peersAsked is how many processes of a container are asked for its root when the one in question has ended.
	peersAsked = 8
)

// inside are the searches in containers.
type inside struct {
	found *lru[insideKey, insideFound]

	place chan struct{} // one search at a time: one that a file system does not let go is the only one
	mu    sync.Mutex
	spare time.Duration
	at    time.Time
	// search is [Namer.search], but in tests.
	search func(ctx context.Context, p *Process) (found string, known bool)
}

// insideKey is a file of a container: what replaces it has another inode.
type insideKey struct {
	container, path string
	file            fileID
}

type insideFound struct {
	name  string
	known bool
}

func newInside(n *Namer) *inside {
	return &inside{found: newLRU[insideKey, insideFound](1024), place: make(chan struct{}, 1), spare: searchSpare, search: n.search}
}

// packageInside is the package that the executable of a container's process is of, as the container says; empty: of none, or the
// container has no database of packages. It is not known of a process that has ended with all others of its control group, of rpm's
// database, which has no reader here, and where the container's files are not what they have to be.
func (n *Namer) packageInside(ctx context.Context, p *Process) (found string, known bool) {
	if p.file == (fileID{}) || !strings.HasPrefix(p.Exe, "/") || strings.HasSuffix(p.Exe, " (deleted)") {
		return "", false
	}
	key, which := insideKey{p.Container.ID, p.Exe, p.file}, *p // which the search may still read when nobody waits for it
	if was, ok := n.inside.found.get(key); ok {
		return was.name, was.known
	}
	wait := time.NewTimer(engineWait)
	defer wait.Stop()
	select {
	case n.inside.place <- struct{}{}:
	case <-wait.C:
		return "", false
	case <-ctx.Done():
		return "", false
	}
	began := time.Now()
	if !n.inside.may(began) {
		<-n.inside.place
		return "", false
	}
	result := make(chan insideFound, 1)
	go func() {
		defer func() { n.inside.took(time.Since(began)); <-n.inside.place }()
		name, known := n.inside.search(ctx, &which)
		result <- insideFound{name, known}
	}()
	select {
	case r := <-result:
		if ctx.Err() == nil {
			n.inside.found.put(key, r)
		}
		return r.name, r.known
	case <-wait.C: // the search ends when the file system lets it
		n.inside.found.put(key, insideFound{})
		return "", false
	}
}

// may says whether there is time for a search.
func (i *inside) may(now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.at.IsZero() {
		i.spare = min(i.spare+now.Sub(i.at)/searchShare, searchSpare)
	}
	i.at = now
	return i.spare > 0
}

func (i *inside) took(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.spare -= d
}

// search looks for the package in the root of the process or, when it has ended, of another one of its control group: it is
// the same root if the path leads to the same file there.
func (n *Namer) search(ctx context.Context, p *Process) (found string, known bool) {
	for _, pid := range append([]int{p.PID}, n.peers(p.Cgroup, p.PID)...) {
		if ctx.Err() != nil {
			return "", false
		}
		t, err := n.rootOf(pid)
		if err != nil {
			continue
		}
		defer t.close()
		if t.file(p.Exe) == p.file {
			return t.packageOf(ctx, p.Exe)
		}
	}
	return "", false
}

// peers are other processes of a control group.
func (n *Namer) peers(cgroup string, but int) (pids []int) {
	if !strings.HasPrefix(cgroup, "/") || strings.Contains(cgroup, "..") {
		return nil
	}
	for _, hierarchy := range []string{"", "/unified", "/systemd"} {
		text, err := readUpTo(n.file("/sys/fs/cgroup"+hierarchy+cgroup+"/cgroup.procs"), 4<<10)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid != but && len(pids) < peersAsked {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// containerFiles is the root directory of a container's process. It is a [tree].
type containerFiles struct {
	dir  int   // without the right to read
	left int64 // bytes that may still be read
	// failed is why not all could be read.
	failed error
}

// systems are the file systems that a container's root may be of: what they answer does not hang on a program or a network.
var systems = []string{"overlay", "ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "zfs", "f2fs", "squashfs", "erofs"}

var errNotOfAContainer = errors.New("not what files of a container are read from")

// rootOf opens the root of a process. The kernel is asked what it is of: the file system itself may not answer.
func (n *Namer) rootOf(pid int) (*containerFiles, error) {
	proc := n.file("/proc/" + strconv.Itoa(pid))
	dir, err := unix.Open(proc+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(systems, systemOf(proc, dir)) {
		_ = unix.Close(dir)
		return nil, errNotOfAContainer
	}
	return &containerFiles{dir: dir, left: mostInside}, nil
}

// systemOf is the name of the file system that an open directory is of, among the mounts of a process; empty: of none of the first.
func systemOf(proc string, dir int) string {
	text, err := readUpTo("/proc/self/fdinfo/"+strconv.Itoa(dir), 4<<10)
	_, mount, found := strings.Cut(string(text), "mnt_id:")
	if err != nil || !found {
		return ""
	}
	mount, _, _ = strings.Cut(mount, "\n")
	mounts, err := readUpTo(proc+"/mountinfo", 64<<10)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(mounts)) {
		id, rest, _ := strings.Cut(line, " ")
		if _, of, found := strings.Cut(rest, " - "); found && id == strings.TrimSpace(mount) {
			system, _, _ := strings.Cut(of, " ")
			return system
		}
	}
	return ""
}

func (t *containerFiles) close() { _ = unix.Close(t.dir) }

// at finds a file: within the root, also by links that are absolute or have "..", and on its file system. The descriptor
// opens nothing yet, so that no pipe waits and no device does anything.
func (t *containerFiles) at(path string) (int, unix.Stat_t, error) {
	var is unix.Stat_t
	fd, err := unix.Openat2(t.dir, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return -1, is, err
	}
	if err := unix.Fstat(fd, &is); err != nil {
		_ = unix.Close(fd)
		return -1, is, err
	}
	return fd, is, nil
}

// file tells which file a path leads to.
func (t *containerFiles) file(path string) fileID {
	fd, is, err := t.at(path)
	if err != nil {
		return fileID{}
	}
	_ = unix.Close(fd)
	return fileID{uint64(is.Dev), is.Ino}
}

// of opens what a path leads to if it is of that kind. What is not there is no failure.
func (t *containerFiles) of(kind uint32, path string) (*os.File, error) {
	fd, is, err := t.at(path)
	if err == nil {
		defer func() { _ = unix.Close(fd) }()
		if is.Mode&unix.S_IFMT != kind {
			err = errNotOfAContainer
		}
	}
	if err != nil {
		return nil, t.fail(err)
	}
	// It waits for no lease of a process of the container, either.
	opened, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, t.fail(err)
	}
	return os.NewFile(uintptr(opened), path), nil
}

// fail is of [tree]: what was not read in whole is not known.
func (t *containerFiles) fail(err error) error {
	if t.failed == nil && err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		t.failed = err
	}
	return err
}

func (t *containerFiles) open(path string) (io.ReadCloser, error) {
	f, err := t.of(unix.S_IFREG, path)
	if err != nil {
		return nil, err
	}
	return &boundedFile{f, t}, nil
}

// boundedFile is a file of a container, of which no more is read than is left to read.
type boundedFile struct {
	*os.File
	of *containerFiles
}

// Read is [io.Reader].
func (b *boundedFile) Read(p []byte) (int, error) {
	if b.of.left <= 0 {
		return 0, b.of.fail(errNotOfAContainer)
	}
	n, err := b.File.Read(p[:min(int64(len(p)), b.of.left)])
	b.of.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return n, b.of.fail(err)
	}
	return n, err
}

func (t *containerFiles) names(dir string) []string {
	d, err := t.of(unix.S_IFDIR, dir)
	if err != nil {
		return nil
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(mostNames)
	switch {
	case errors.Is(err, io.EOF):
	case err != nil:
		_ = t.fail(err)
	case len(names) == mostNames:
		_ = t.fail(errNotOfAContainer)
	}
	return names
}

// rpmDatabases are where rpm has its database, by its versions and distributions.
var rpmDatabases = []string{"/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm"}

// packageText is what a package and its version look like.
var packageText = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_-]{0,127}( [A-Za-z0-9.+:~_^-]{1,127})?$`)

func (t *containerFiles) packageOf(ctx context.Context, path string) (found string, known bool) {
	for _, search := range []func(context.Context, tree, string) string{dpkg, apk} {
		found := search(ctx, t, path)
		switch {
		case t.failed != nil || ctx.Err() != nil:
			return "", false
		case found != "":
			if !packageText.MatchString(found) {
				return "", false
			}
			return found, true
		}
	}
	for _, database := range rpmDatabases {
		if len(t.names(database)) > 0 {
			return "", false
		}
	}
	return "", t.failed == nil
}

// idOf tells which file it is.
func idOf(info os.FileInfo) fileID {
	if is, ok := info.Sys().(*syscall.Stat_t); ok {
		return fileID{uint64(is.Dev), is.Ino}
	}
	return fileID{}
}
