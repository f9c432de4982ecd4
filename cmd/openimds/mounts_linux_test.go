package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// mountsVariable says that this process has mounts of its own.
const mountsVariable = "OPENIMDS_TEST_MOUNTS"

// ownMounts begins this process anew with mounts of its own, so that the names of the network namespaces that stories
// make are not those of another run on this machine, and none is left of one that was killed. Who may not have them,
// or has them, goes on.
func ownMounts() error {
	if os.Geteuid() != 0 || os.Getenv(mountsVariable) != "" || os.Getenv(insideVariable) != "" {
		return os.Unsetenv(mountsVariable) // which is not for the programs that are started
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); errors.Is(err, unix.EPERM) {
		runtime.UnlockOSThread()
		return nil
	} else if err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	if err := ownNames(); err != nil {
		return fmt.Errorf("mounts of its own: %w", err)
	}
	return syscall.Exec(self, os.Args, append(os.Environ(), mountsVariable+"=own")) // of the other threads, which have the old ones, none is left
}

// ownNames leaves the mounts of this process to itself, without a name of any network namespace.
func ownNames() error {
	return errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		os.MkdirAll("/run/netns", 0o755),
		unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, ""))
}
