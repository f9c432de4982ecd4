//go:build !unix

package safefile

import (
	"io/fs"
	"os"
)

// Neither is there elsewhere; [Open] looks at what it has opened.
const noFollow, nonBlock = 0, 0

// syncDir does nothing: elsewhere a directory cannot be synced, and its file system orders names itself.
func syncDir(string) error { return nil }

// Who owns a file, and who may write it, is not told by its mode elsewhere.

func safeDirectory(string, fs.FileInfo, bool) error { return nil }

// Unmapped is of Linux alone.
func Unmapped(uint32) bool { return false }

func belongsToUs(fs.FileInfo) bool { return false }

func ours(string, fs.FileInfo) error { return nil }

// giveTo does nothing: elsewhere a new file has its directory's access rules.
func giveTo(*os.File, fs.FileInfo) error { return nil }
