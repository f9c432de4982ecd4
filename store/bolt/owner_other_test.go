//go:build !unix

package bolt

import (
	"io/fs"
	"os"
	"testing"
)

func owned(*testing.T, fs.FileInfo) int { return os.Geteuid() }
