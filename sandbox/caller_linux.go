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

	"github.com/openimds/openimds/processes"
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
	if inode == 0 {
		return Process{}, false
	}
	pid, found := processes.Holder(inode, c.netns)
	if !found {
		return Process{}, false
	}
	return process(pid), true
}

// socket finds the inode of the caller's end of a connection (proc_net_tcp in the kernel's
// documentation).
func (c *Command) socket(source netip.AddrPort) uint64 {
	file, want := "/tcp", endpoint(source)
	if source.Addr().Is6() {
		file = "/tcp6"
	}
	table, err := os.ReadFile(c.tables + file)
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(table) {
		fields := bytes.Fields(line)
		if len(fields) > 9 && string(fields[1]) == want && string(fields[9]) != "0" {
			inode, _ := strconv.ParseUint(string(fields[9]), 10, 64)
			return inode
		}
	}
	return 0
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

func process(pid int) Process {
	p := Process{PID: pid}
	if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		p.Args = processes.Args(line)
	}
	return p
}
