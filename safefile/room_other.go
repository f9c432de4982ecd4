//go:build !unix

package safefile

import (
	"errors"
	"syscall"
)

// Windows' ERROR_HANDLE_DISK_FULL and ERROR_DISK_FULL.
const (
	handleDiskFull = syscall.Errno(39)
	diskFull       = syscall.Errno(112)
)

// NoRoom says whether a write failed because the disk is full.
func NoRoom(err error) bool { return errors.Is(err, diskFull) || errors.Is(err, handleDiskFull) }
