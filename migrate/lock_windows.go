package migrate

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// lock keeps a file for this process until it is closed. It does not wait. What is locked lies behind any
// line that is ever written: readers are not kept out.
func lock(f *os.File) error {
	at := windows.Overlapped{OffsetHigh: math.MaxInt32}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}
