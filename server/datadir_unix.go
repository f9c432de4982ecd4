//go:build unix

package server

import "syscall"

const errNotDir = syscall.ENOTDIR
