//go:build unix

package server

import "syscall"

// descriptorLimit is how many descriptors this process may have. Go has raised it to what is allowed.
func descriptorLimit() (uint64, bool) {
	var limit syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	return uint64(limit.Cur), err == nil
}
