package processes

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// Holder finds a process that has a socket open, by the inode of the socket, which the kernel tells of a
// connection, and by that of the network namespace it is in; 0: of any. There may be several, of which it finds
// one. It looks at the descriptors of all processes that it may look at: not on anybody's way.
func Holder(socket, netns uint64) (pid int, found bool) {
	for candidate := range holders(map[uint64]bool{socket: true}, netns) {
		return candidate, true
	}
	return 0, false
}

// Holders finds processes that have one of the sockets open, as [Holder] does, in one look at all: inode → PID.
func Holders(sockets map[uint64]bool) map[uint64]int {
	held := make(map[uint64]int)
	for pid, inode := range holders(sockets, 0) {
		if held[inode] == 0 {
			held[inode] = pid
		}
	}
	return held
}

func holders(sockets map[uint64]bool, netns uint64) func(yield func(pid int, socket uint64) bool) {
	return func(yield func(int, uint64) bool) {
		names := make(map[string]uint64, len(sockets))
		for inode := range sockets {
			names[fmt.Sprintf("socket:[%d]", inode)] = inode
		}
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, dir := range dirs {
			if netns != 0 {
				if link, err := os.Readlink(dir + "/ns/net"); err != nil || link != fmt.Sprintf("net:[%d]", netns) {
					continue
				}
			}
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err != nil {
				continue
			}
			descriptors, _ := os.ReadDir(dir + "/fd")
			for _, d := range descriptors {
				link, err := os.Readlink(dir + "/fd/" + d.Name())
				if inode, wanted := names[link]; err == nil && wanted && !yield(pid, inode) {
					return
				}
			}
		}
	}
}
