package processes

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// HolderAmong is Holder for a few processes, in that order: those of which it is likely.
func HolderAmong(socket uint64, pids []int) (pid int, found bool) {
	name := fmt.Sprintf("socket:[%d]", socket)
	for _, candidate := range pids {
		dir := "/proc/" + strconv.Itoa(candidate)
		descriptors, _ := os.ReadDir(dir + "/fd")
		for _, d := range descriptors {
			if link, err := os.Readlink(dir + "/fd/" + d.Name()); err == nil && link == name {
				return leader(candidate), true
			}
		}
	}
	return 0, false
}

// leader is the process that a thread is of.
func leader(thread int) int {
	text, _ := readUpTo(fmt.Sprintf("/proc/%d/status", thread), 16<<10)
	for line := range strings.Lines(string(text)) {
		if number, found := strings.CutPrefix(line, "Tgid:"); found {
			if pid, err := strconv.Atoi(strings.TrimSpace(number)); err == nil {
				return pid
			}
		}
	}
	return thread
}

// Newest are the numbers that the kernel gave to processes and threads last, the latest first: what calls for a moment
// only is mostly one of them. Many are gone, or of threads.
func Newest(most int) []int {
	text, err := readUpTo("/proc/loadavg", 1<<10)
	fields := strings.Fields(string(text))
	if err != nil || len(fields) == 0 {
		return nil
	}
	last, _ := strconv.Atoi(fields[len(fields)-1]) // see proc_loadavg(5)
	var pids []int
	for pid := last; pid > 0 && len(pids) < most; pid-- {
		pids = append(pids, pid)
	}
	return pids
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
