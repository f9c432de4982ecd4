package trace

import (
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/openimds/openimds/processes"
)

// nobody is the caller of a connection that was not seen to begin.
func nobody(uid int) *caller {
	c := &caller{unnamed: true, process: nobodys()}
	if c.process.UID = uid; uid >= 0 {
		c.process.Known("uid")
	}
	return c
}

// callers finds who made a connection, while that may still be there to be asked.
type callers struct {
	namer  *processes.Namer
	groups *os.File // root of the control groups; nil: there is none
	known  map[image]*caller
	order  []image // as they came; the oldest is forgotten
	paths  map[uint64]string
}

func newCallers(n *processes.Namer, groups *os.File) *callers {
	return &callers{namer: n, groups: groups, known: map[image]*caller{}, paths: map[uint64]string{}}
}

// of is the caller who makes the connection of an event.
func (cs *callers) of(e event) *caller {
	if e.image.pid == 0 {
		return nobody(e.uid)
	}
	key := e.image
	if key.mm == 0 { // the kernel does not tell programs apart
		key.argStart = cs.namer.Start(key.pid)
	}
	if c, ok := cs.known[key]; ok && key.argStart != 0 {
		return c
	}
	c := &caller{process: cs.look(e)}
	if c.process.Comm == imdsd {
		c.clients = cs.clientsOf(c.process)
	}
	if len(cs.order) == images {
		delete(cs.known, cs.order[0])
		cs.order = cs.order[1:]
	}
	cs.known[key], cs.order = c, append(cs.order, key)
	return c
}

// over says whether a caller has ended. Of one who is not known nobody can tell.
func (cs *callers) over(c *caller) bool {
	c.mu.Lock()
	pid, start := c.process.PID, c.process.Start
	c.mu.Unlock()
	return pid != 0 && (start == 0 || cs.namer.Start(pid) != start)
}

// look reads what /proc has of a process, and takes from the kernel what is gone from there.
func (cs *callers) look(e event) processes.Process {
	p := cs.namer.Look(e.image.pid)
	known := e.image.argStart
	switch {
	case known == 0, p.Image == known:
	case p.Image == 0 && p.Comm == e.comm: // it has ended, and was not waited for
	default: // the number is another one's, or the process has executed something else
		p = gone(e.image.pid)
	}
	if p.Comm == "" {
		p.Comm = e.comm
		p.Known("comm")
	}
	if len(p.Argv) == 0 && len(e.args) > 0 {
		p.Argv = processes.Args(e.args)
		p.Known("argv")
	}
	if p.Exe == "" && e.exec != "" {
		p.Exe = e.exec
		if path.IsAbs(e.exec) {
			p.Known("exe")
		}
	}
	if p.UID < 0 {
		p.UID = e.uid
		p.Known("uid")
	}
	if p.Cgroup == "" {
		if p.Cgroup = cs.path(e.cgroup); p.Cgroup != "" {
			p.Known("cgroup")
		}
	}
	return p
}

// gone is a process of which nothing is known but the number.
func gone(pid int) processes.Process {
	return processes.Process{PID: pid, UID: -1, Unknown: []string{"comm", "exe", "argv", "uid", "cgroup", "parents"}}
}

// mostPaths is how many control groups' paths are remembered.
const mostPaths = 4096

func (cs *callers) path(id uint64) string {
	if known, ok := cs.paths[id]; ok || cs.groups == nil || id == 0 {
		return known
	}
	found := groupPath(cs.groups, id)
	if found != "" {
		if len(cs.paths) == mostPaths {
			clear(cs.paths)
		}
		cs.paths[id] = found
	}
	return found
}

// inGroup is the caller of a connection that was open already and whose process was not found.
func (cs *callers) inGroup(id uint64) *caller {
	c := nobody(-1)
	if c.process.Cgroup = cs.path(id); c.process.Cgroup != "" {
		c.process.Known("cgroup")
		c.process.Unit = processes.UnitOf(c.process.Cgroup)
		c.process.Known("unit")
		if container, ok := processes.ContainerOf(c.process.Cgroup); ok {
			c.process.Container = &container
		}
		c.process.Known("container")
	}
	return c
}

// imdsd is systemd's client of the metadata service (261 and later), which asks for others. Each of its
// processes serves one connection to its socket, and systemd names the unit after who made that:
// a number, the process, perhaps an identifier of that, the user.
const imdsd = "systemd-imdsd"

var imdsdUnit = regexp.MustCompile(`^systemd-imdsd@[0-9]+-([0-9]+)(?:_[0-9]+)?-[0-9]+\.service$`)

// clientsOf finds on whose behalf it calls.
func (cs *callers) clientsOf(p processes.Process) []processes.Process {
	m := imdsdUnit.FindStringSubmatch(processes.UnitOf(p.Cgroup))
	if m == nil || !strings.HasPrefix(p.Cgroup, "/system.slice/") { // users name units of their own as they like
		return nil
	}
	pid, err := strconv.Atoi(m[1])
	if err != nil || pid == 0 {
		return nil
	}
	return []processes.Process{cs.namer.Look(pid)}
}
