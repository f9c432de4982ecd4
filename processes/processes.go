// Package processes names the processes of this machine as an operator knows them: what runs, for whom, started
// by which unit or in which container, from which package. It reads /proc and files of the system's own,
// runs nothing but rpm, and hides what looks like a secret in a command line. What it cannot find out it says.
package processes

import (
	"container/list"
	"context"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Process is what is known of a process. What stays empty and is named in Unknown could not be found out;
// what stays empty and is not named there does not exist: a process of no container has none.
type Process struct {
	PID int `json:"pid"`
	// Start is when it began, in clock ticks since the machine started, as field 22 of /proc/PID/stat. 0: unknown.
	Start uint64 `json:"start,omitempty"`
	// Image is where the command line begins in the memory of the program that it executes, which tells it from what
	// it executed before; 0: unknown.
	Image uint64 `json:"-"`
	// Comm is the kernel's name of the main thread, at most 15 bytes.
	Comm string `json:"comm,omitempty"`
	// Exe is the executable's path in the process's own file system; " (deleted)" follows that of a file that is gone.
	Exe string `json:"exe,omitempty"`
	// Elsewhere says that another file has that path on the machine.
	Elsewhere bool `json:"-"`
	file      fileID
	// Argv is its command line with secrets hidden ([Blank]); at most 64 words of 512 bytes.
	Argv []string `json:"argv,omitempty"`
	// UID is the effective user; -1: unknown. User is its name, which is the machine's: of users that only a
	// container knows there is the number alone.
	UID  int    `json:"uid"`
	User string `json:"user,omitempty"`
	// Cgroup is the path of its control group.
	Cgroup string `json:"cgroup,omitempty"`
	// Unit is systemd's unit, of the system or of a user.
	Unit      string     `json:"unit,omitempty"`
	Container *Container `json:"container,omitempty"`
	// Package is the name and version of the package that the executable is of, as dpkg, rpm or apk know it. Of a container's
	// process it is the container's own word.
	Package string `json:"package,omitempty"`
	// Parents are the processes that it descends from, the nearest first; at most 8.
	Parents []Parent `json:"parents,omitempty"`
	// Unknown are the names of what could not be found out, as in JSON.
	Unknown []string `json:"unknown,omitempty"`
}

// Container is what a process runs in.
type Container struct {
	ID string `json:"id"`
	// Name is as the engine says; empty: it did not.
	Name string `json:"name,omitempty"`
	// Engine is docker, podman, containerd, cri-o, ecs, lxc or nspawn; empty: the path does not tell.
	Engine string `json:"engine,omitempty"`
	// Pod is the pod of Kubernetes, as NAMESPACE/NAME where the engine says so, else its UID.
	Pod string `json:"pod,omitempty"`
}

// Parent is a process that another one descends from.
type Parent struct {
	PID  int    `json:"pid"`
	Comm string `json:"comm"`
}

// Known notes that something was found out after all.
func (p *Process) Known(what string) {
	p.Unknown = slices.DeleteFunc(p.Unknown, func(w string) bool { return w == what })
}

// lacks notes what could not be found out.
func (p *Process) lacks(what string) {
	if !slices.Contains(p.Unknown, what) {
		p.Unknown = append(p.Unknown, what)
	}
}

// fileID is a file of this machine.
type fileID struct{ dev, ino uint64 }

// Namer names processes. It is safe for use by many goroutines. What it keeps is bounded.
type Namer struct {
	root string // of the file system that the machine's own things are in; "/" but in tests
	ask  func(ctx context.Context, id string) (name, pod string, ok bool)

	users      users
	packages   *lru[string, string]
	containers *lru[string, Container]
	described  *lru[identity, Process]
	inside     *inside
}

// identity is of one process: a number is given again, but not within a clock tick.
type identity struct {
	pid   int
	start uint64
}

// New makes a namer for this machine.
func New() *Namer { return newNamer("/") }

func newNamer(root string) *Namer {
	n := &Namer{
		root:       root,
		packages:   newLRU[string, string](1024),
		containers: newLRU[string, Container](1024),
		described:  newLRU[identity, Process](4096),
	}
	n.inside = newInside(n)
	n.ask = n.askDocker
	return n
}

// file is the path of a file of the machine's own.
func (n *Namer) file(path string) string { return filepath.Join(n.root, path) }

// Describe looks at a process and names it. A start other than 0 says which process is meant: where the
// number is another one's now, all but the number is unknown. What was described is remembered until the
// process's place in the memory is taken; a program that it has executed since then is noticed if the
// kernel's name for it is another.
//
// Of a process that has ended everything is unknown, so call it while it cannot have ended. ctx bounds what
// is asked of a container engine and of rpm, which take at most 2 s each, and the search for the package, which takes as long at
// most in a container; what it ends is unknown. Other files are read in any case.
func (n *Namer) Describe(ctx context.Context, pid int, start uint64) Process {
	s, err := n.stat(pid)
	if err != nil || start != 0 && s.start != start {
		p := Process{PID: pid, Start: start, UID: -1}
		n.gone(&p)
		return p
	}
	id := identity{pid, s.start}
	if p, ok := n.described.get(id); ok && p.Comm == s.comm {
		return p
	}
	p := n.Look(pid)
	n.Name(ctx, &p)
	lacking := slices.ContainsFunc(p.Unknown, func(what string) bool { return slices.Contains([]string{"exe", "argv", "cgroup"}, what) })
	if !lacking && ctx.Err() == nil { // what the next one finds is not to be hidden by what this one had no time for
		n.described.put(id, p)
	}
	return p
}

// gone notes that a process has ended before it was looked at.
func (n *Namer) gone(p *Process) {
	for _, what := range []string{"comm", "exe", "argv", "uid", "cgroup", "parents"} {
		p.lacks(what)
	}
}

// Name adds to what a look at a process has found what does not end with it: user, unit, container, package.
// It may be called long after; ctx is as for [Namer.Describe].
func (n *Namer) Name(ctx context.Context, p *Process) {
	switch {
	case p.Cgroup == "":
		p.lacks("unit")
		p.lacks("container")
	default:
		p.Unit = UnitOf(p.Cgroup)
		if c, ok := ContainerOf(p.Cgroup); ok {
			if !ofUsers(p.Cgroup) {
				c = n.container(ctx, c)
			}
			p.Container = &c
		}
	}
	// Another one's users are not this machine's, and its packages are in a database of its own. What is isolated and in no
	// container that the path tells is a service with a file system of its own, which is the machine's in another arrangement.
	foreign := p.Container != nil
	if p.UID >= 0 {
		if name := n.users.name(n.file("/etc/passwd"), p.UID); name != "" && (!foreign || p.UID == 0) {
			p.User = name
		} else {
			p.lacks("user")
		}
	}
	known := false
	switch {
	case p.Exe == "":
	case foreign && !ofUsers(p.Cgroup):
		p.Package, known = n.packageInside(ctx, p)
	case !foreign && !p.Elsewhere:
		p.Package, known = n.packageOf(ctx, p.Exe)
	}
	if !known {
		p.lacks("package")
	}
}

// engineWait is how long a container engine or rpm may take.
const engineWait = 2 * time.Second

// lru is a bounded map that forgets what was not asked for the longest time.
type lru[K comparable, V any] struct {
	mu    sync.Mutex
	most  int
	order *list.List // of entry[K, V], the last used first
	at    map[K]*list.Element
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](most int) *lru[K, V] {
	return &lru[K, V]{most: most, order: list.New(), at: make(map[K]*list.Element)}
}

func (l *lru[K, V]) get(key K) (value V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.at[key]
	if !ok {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(entry[K, V]).value, true
}

func (l *lru[K, V]) put(key K, value V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.at[key]; ok {
		e.Value = entry[K, V]{key, value}
		l.order.MoveToFront(e)
		return
	}
	l.at[key] = l.order.PushFront(entry[K, V]{key, value})
	if l.order.Len() > l.most {
		last := l.order.Back()
		delete(l.at, last.Value.(entry[K, V]).key)
		l.order.Remove(last)
	}
}
