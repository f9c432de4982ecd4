//go:build unix

package server

import "syscall"

// descriptorsFor asks for so many descriptors that a test may hold that many connections beside a server of its own, and
// tells how many it may: a quarter of all is for the server's ends of them, and some for all else.
func descriptorsFor(connections int) int {
	const others = 4096
	want := uint64(connections+others) * 4 / 3
	if limit, ok := descriptorLimit(); ok && limit < want { // above what it may have, only root is given it
		var raised syscall.Rlimit
		setLimit(&raised.Cur, want)
		setLimit(&raised.Max, want)
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised)
	}
	limit, _ := descriptorLimit()
	return max(int(min(limit, want))*3/4-others, 600)
}

// setLimit sets a number that has a sign on some systems.
func setLimit[T int64 | uint64](of *T, to uint64) { *of = T(to) }
