//go:build unix

package safefile

import (
	"errors"
	"strings"
	"syscall"
)

// NoRoom says whether a write failed because the disk, or what the user may have of it, is full. Some
// pass such an error on as a text.
func NoRoom(err error) bool {
	return err != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), syscall.EDQUOT.Error()))
}
