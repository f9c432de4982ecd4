//go:build unix

package main

import "syscall"

const errNotDir = syscall.ENOTDIR
