//go:build unix

package front

import (
	"io/fs"
	"os"
	"syscall"
)

// belongsToUs says whether this process's user owns the file.
func belongsToUs(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid()
}
