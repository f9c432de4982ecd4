//go:build unix

package bolt

import (
	"io/fs"
	"syscall"
	"testing"
)

func owned(t *testing.T, info fs.FileInfo) int {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("the owner of a file is not told")
	}
	return int(st.Uid)
}
