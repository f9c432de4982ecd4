package trace

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// controlGroups opens the root of the unified hierarchy. A machine that has none mounted, because
// its systemd uses version 1, has one nevertheless, which is mounted here without a place in the file system.
func controlGroups() (*os.File, error) {
	if path := mounted(); path != "" {
		return os.Open(path)
	}
	return mountPrivately()
}

func mountPrivately() (*os.File, error) {
	fs, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("no cgroup2 is mounted, and mounting it privately failed: %w", err)
	}
	defer func() { _ = unix.Close(fs) }()
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("mounting cgroup2 privately: %w", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("mounting cgroup2 privately: %w", err)
	}
	defer func() { _ = unix.Close(mount) }()
	root, err := unix.Openat(mount, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // which a mount's own descriptor cannot do all of
	if err != nil {
		return nil, fmt.Errorf("opening a private cgroup2: %w", err)
	}
	return os.NewFile(uintptr(root), "cgroup2"), nil
}

// mounted finds a mount of cgroup2 (proc_pid_mountinfo(5)) of the whole hierarchy that is seen here.
func mounted() string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 && fields[3] == "/" {
			return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(fields[4])
		}
	}
	return ""
}

// fileidKernfs is the type of file handles of cgroup2, which are the identifier (FILEID_KERNFS of linux/exportfs.h).
const fileidKernfs = 0xfe

// groupPath is the path of a control group below a root; empty: it is gone, or this process may not open
// files by handle (CAP_DAC_READ_SEARCH).
func groupPath(root *os.File, id uint64) string {
	handle := make([]byte, 8)
	binary.NativeEndian.PutUint64(handle, id)
	fd, err := unix.OpenByHandleAt(int(root.Fd()), unix.NewFileHandle(fileidKernfs, handle), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }()
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil || strings.HasSuffix(path, " (deleted)") {
		return ""
	}
	top, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", root.Fd()))
	if err != nil {
		return ""
	}
	path = strings.TrimPrefix(path, strings.TrimSuffix(top, "/"))
	if path == "" {
		path = "/"
	}
	return path
}
