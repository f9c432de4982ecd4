//go:build !unix

package boltstore

import (
	"io/fs"
	"os"
	"testing"
)

func owned(*testing.T, fs.FileInfo) int { return os.Geteuid() }
