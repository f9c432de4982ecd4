package sandbox

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// tablesOf finds the directory with the tables of a namespace's connections: it is one thread of the
// warden that is in it.
func tablesOf(warden int, netns uint64) string {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", warden))
	for _, t := range threads {
		if link, err := os.Readlink(t + "/ns/net"); err == nil && link == netLink(netns) {
			return t + "/net"
		}
	}
	return ""
}

func netLink(netns uint64) string { return fmt.Sprintf("net:[%d]", netns) }

// Caller finds the process at the other end of a connection of one of the listeners, while that is
// open. Another one that holds the same socket may be found instead.
func (c *Command) Caller(source netip.AddrPort) (Process, bool) {
	inode := c.socket(source)
	if inode == "" {
		return Process{}, false
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range processes {
		if link, err := os.Readlink(dir + "/ns/net"); err != nil || link != netLink(c.netns) {
			continue
		}
		if holds(dir, "socket:["+inode+"]") {
			return process(dir), true
		}
	}
	return Process{}, false
}

// socket finds the inode of the caller's end of a connection (proc_net_tcp in the kernel's
// documentation).
func (c *Command) socket(source netip.AddrPort) string {
	file, want := "/tcp", endpoint(source)
	if source.Addr().Is6() {
		file = "/tcp6"
	}
	table, err := os.ReadFile(c.tables + file)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(table) {
		fields := bytes.Fields(line)
		if len(fields) > 9 && string(fields[1]) == want && string(fields[9]) != "0" {
			return string(fields[9])
		}
	}
	return ""
}

// endpoint writes an address as the kernel's tables do: words of the address in the byte order of the
// machine.
func endpoint(a netip.AddrPort) string {
	b := a.Addr().AsSlice()
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	return strings.ToUpper(hex.EncodeToString(b)) + fmt.Sprintf(":%04X", a.Port())
}

func holds(dir, socket string) bool {
	descriptors, err := os.ReadDir(dir + "/fd")
	if err != nil {
		return false
	}
	for _, d := range descriptors {
		if link, err := os.Readlink(dir + "/fd/" + d.Name()); err == nil && link == socket {
			return true
		}
	}
	return false
}

func process(dir string) Process {
	p := Process{}
	p.PID, _ = strconv.Atoi(filepath.Base(dir))
	if line, err := os.ReadFile(dir + "/cmdline"); err == nil && len(line) > 0 {
		p.Args = strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
	}
	return p
}
