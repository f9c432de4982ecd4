//go:build unix

package safefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	noFollow = syscall.O_NOFOLLOW
	nonBlock = syscall.O_NONBLOCK
)

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil // some file systems order names by themselves
	}
	return errors.Join(err, d.Close())
}

func safeDirectory(path string, info fs.FileInfo, above bool) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	mode := info.Mode()
	if !trustedOwner(st.Uid) && (!above || !Unmapped(st.Uid)) {
		return fmt.Errorf("%s belongs to user %d, who could exchange what is in it: give it to user %d, who runs this", path, st.Uid, os.Geteuid())
	}
	open := mode.Perm() & 0o022
	switch {
	case open == 0, above && mode&fs.ModeSticky != 0:
		return nil
	case above && open == 0o020 && privateGroup(st.Gid):
		return nil
	}
	return fmt.Errorf("others can write to %s (mode %04o): run chmod go-w %[1]s", path, mode.Perm())
}

// belongsToUs says whether this process's user owns the file.
func belongsToUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}

func trustedOwner(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }

// privateGroup tells the group that many systems make for each user, under the user's name; with it
// come a umask of 002 and homes that this group can write to.
func privateGroup(gid uint32) bool {
	u, err := user.Current()
	if err != nil {
		return false
	}
	g, err := user.LookupGroupId(strconv.Itoa(int(gid)))
	return err == nil && (g.Name == u.Username || gid == 0) // group 0 is root's own
}

// Unmapped tells the user that stands for all who are nobody in this user namespace, as the host's root
// is in a container without root. Nobody here can act as one of those.
func Unmapped(uid uint32) bool {
	overflow, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil || strings.TrimSpace(string(overflow)) != strconv.Itoa(int(uid)) {
		return false
	}
	ids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(ids)), " ") != "0 0 4294967295"
}

func ours(path string, info fs.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || trustedOwner(st.Uid) {
		return nil
	}
	if os.Geteuid() == 0 { // who may look after another user's files
		dir, err := os.Stat(filepath.Dir(path))
		if err != nil {
			return err
		}
		if owner, ok := dir.Sys().(*syscall.Stat_t); ok && owner.Uid == st.Uid {
			return nil
		}
	}
	return fmt.Errorf("%s belongs to user %d: give it to user %d, who runs this", path, st.Uid, os.Geteuid())
}

// giveTo gives a file the owner and the group of another, which only root has to and can.
func giveTo(f *os.File, like fs.FileInfo) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	is, ok := mine.Sys().(*syscall.Stat_t)
	was, known := like.Sys().(*syscall.Stat_t)
	if !ok || !known || is.Uid == was.Uid && is.Gid == was.Gid {
		return nil
	}
	return f.Chown(int(was.Uid), int(was.Gid))
}
