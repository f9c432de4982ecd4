package etcdtest

import (
	"os/exec"
	"syscall"
)

// dieWith has a member end with its test's process, however that ends.
func dieWith(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// Pause halts the member, which keeps its connections; Resume lets it go on.
func (m *Member) Pause() { _ = syscall.Kill(m.PID(), syscall.SIGSTOP) }

// Resume lets a halted member go on.
func (m *Member) Resume() { _ = syscall.Kill(m.PID(), syscall.SIGCONT) }
