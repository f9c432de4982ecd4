package server

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// TestBackupIsForItsUser: a directory that others may enter, and a socket whose mode is not set yet, give nobody a backup,
// which has all keys.
func TestBackupIsForItsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("skipped: only root can be another user")
	}
	dir := filepath.Join(t.TempDir(), "data")
	i := openInstallation(t, forTest(dir))
	defer i.stop()
	i.gives(t)
	path := filepath.Join(dir, backupSocket)
	for _, enter := range []string{dir, filepath.Dir(dir), filepath.Dir(filepath.Dir(dir))} {
		must(t, os.Chmod(enter, 0o755))
	}
	must(t, os.Chmod(path, 0o666)) // as it is for a moment, where the umask lets it
	took := func(uid uintptr) (n int64, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // and not unlocked: the thread, which alone is the other user, ends with this
			if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uid, ^uintptr(0)); errno != 0 {
				err = errno
				return
			}
			var conn net.Conn
			if conn, err = net.Dial("unix", path); err != nil {
				return
			}
			n, err = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
		<-done
		return n, err
	}
	if n, err := took(65534); err != nil || n != 0 {
		t.Errorf("another user got %d bytes of the backup, %v", n, err)
	}
	if n, err := took(0); err != nil || n == 0 {
		t.Errorf("its user got %d bytes of the backup, %v", n, err)
	}
}
