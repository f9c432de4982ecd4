//go:build unix && !linux

package credentials

import "syscall"

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
