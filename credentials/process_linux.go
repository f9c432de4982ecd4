package credentials

import "syscall"

// attributes has the program ended with this one, even when that is killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
