//go:build unix

package credentials

import (
	"os/exec"
	"syscall"
)

const shell, shellFlag = "sh", "-c"

// group puts a command into a process group of its own: what it starts is ended with it.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = attributes()
	cmd.SysProcAttr.Setpgid = true
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// endGroup ends what is left of the group. A program that has made a session of its own, as daemons
// do (agents that keep a login), is none of it.
func endGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
