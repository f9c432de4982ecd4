//go:build unix

package boltstore

import (
	"errors"
	"strings"
	"syscall"
)

// noRoom says whether a write failed because the disk, or what the user may have of it, is full. bbolt
// gives the error of a file that cannot grow as a text.
func noRoom(err error) bool {
	return err != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), syscall.EDQUOT.Error()))
}
