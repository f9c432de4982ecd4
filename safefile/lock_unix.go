//go:build darwin || freebsd || linux || netbsd || openbsd

package safefile

import (
	"os"
	"syscall"
)

// Lock takes a file for this process, without waiting for another that has it, until unlock or the process's end. The
// file is made if it is not there, and stays.
func Lock(path string) (unlock func(), err error) {
	f, err := Open(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}
