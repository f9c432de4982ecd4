package processes

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Bounds of what is read of one process: whoever runs it decides what stands there.
const (
	mostArgs    = 64
	mostArg     = 512
	mostCmdline = 4 << 10
	mostParents = 8
)

// Look reads what ends with a process. Its start is read before and after, so that what is returned is of one.
func (n *Namer) Look(pid int) Process {
	p := Process{PID: pid, UID: -1}
	before, err := n.stat(pid)
	if err != nil {
		n.gone(&p)
		return p
	}
	n.look(&p, before)
	if after, err := n.stat(pid); err == nil && after.start != before.start { // ended, and the number given again
		p = Process{PID: pid, UID: -1}
		n.gone(&p)
	}
	return p
}

func (n *Namer) look(p *Process, s stat) {
	dir := n.file("/proc/" + strconv.Itoa(p.PID))
	p.Start, p.Comm, p.Image = s.start, s.comm, s.image
	if exe, err := os.Readlink(dir + "/exe"); err == nil {
		p.Exe = exe
		if is, err := os.Stat(dir + "/exe"); err == nil {
			p.file, p.Elsewhere = idOf(is), n.elsewhere(is, exe)
		}
	} else {
		p.lacks("exe")
	}
	switch line, err := readUpTo(dir+"/cmdline", mostCmdline); {
	case err != nil || len(line) == 0: // a process that has ended and was not waited for has none
		p.lacks("argv")
	default:
		p.Argv = Args(line)
	}
	if uid, ok := effectiveUser(dir + "/status"); ok {
		p.UID = uid
	} else {
		p.lacks("uid")
	}
	if text, err := readUpTo(dir+"/cgroup", 64<<10); err == nil {
		p.Cgroup = cgroupOf(string(text))
	}
	if p.Cgroup == "" {
		p.lacks("cgroup")
	}
	n.parents(p, s.parent)
}

// elsewhere says whether the file that a process executes is not the one that has its path on the machine: it is of another
// file system, which anybody may put together, or was replaced.
func (n *Namer) elsewhere(executed os.FileInfo, path string) bool {
	there, err := os.Stat(n.file(strings.TrimSuffix(path, " (deleted)")))
	return err == nil && !os.SameFile(executed, there)
}

// Args are the words of a command line as the kernel has it, zero bytes between them, with secrets hidden.
func Args(line []byte) []string {
	line = bytes.TrimRight(line, "\x00")
	if len(line) == 0 {
		return nil
	}
	words := strings.SplitN(string(line), "\x00", mostArgs+1)
	words = words[:min(len(words), mostArgs)]
	words = Blank(words)
	for i, w := range words {
		if len(w) > mostArg {
			words[i] = w[:mostArg] + "…"
		}
	}
	return words
}

func (n *Namer) parents(p *Process, parent int) {
	for range mostParents {
		if parent <= 0 {
			return
		}
		s, err := n.stat(parent)
		if err != nil {
			p.lacks("parents")
			return
		}
		p.Parents = append(p.Parents, Parent{PID: parent, Comm: s.comm})
		parent = s.parent
	}
}

// stat is what /proc/PID/stat says.
type stat struct {
	comm   string
	parent int
	start  uint64
	image  uint64 // where the command line is in memory; 0: not told
}

func (n *Namer) stat(pid int) (stat, error) {
	text, err := readUpTo(n.file(fmt.Sprintf("/proc/%d/stat", pid)), 4<<10)
	if err != nil {
		return stat{}, err
	}
	// The name stands in parentheses and may have some itself.
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return stat{}, fmt.Errorf("process %d: unreadable stat", pid)
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 20 {
		return stat{}, fmt.Errorf("process %d: short stat", pid)
	}
	s := stat{comm: string(text[open+1 : end])}
	if s.parent, err = strconv.Atoi(fields[1]); err != nil {
		return stat{}, err
	}
	if len(fields) > 45 { // field 48 of proc_pid_stat(5)
		s.image, _ = strconv.ParseUint(fields[45], 10, 64)
	}
	s.start, err = strconv.ParseUint(fields[19], 10, 64)
	return s, err
}

// Start is when the process began that has a number now, as [Process] tells it; 0: there is none.
func (n *Namer) Start(pid int) uint64 {
	s, err := n.stat(pid)
	if err != nil {
		return 0
	}
	return s.start
}

// effectiveUser reads the second number of the line Uid.
func effectiveUser(path string) (int, bool) {
	text, err := readUpTo(path, 16<<10)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if numbers, found := strings.CutPrefix(line, "Uid:"); found {
			if fields := strings.Fields(numbers); len(fields) == 4 {
				uid, err := strconv.ParseUint(fields[1], 10, 32)
				return int(uid), err == nil
			}
		}
	}
	return 0, false
}

// readUpTo reads the beginning of a file.
func readUpTo(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, most))
}
