package processes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const containerID = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// contained is a machine with a process 71 in a container that has these files, and whose program is /usr/bin/curl there.
func contained(t *testing.T, files map[string]string) (m machine, root string, p Process) {
	t.Helper()
	m = newMachine(t)
	root = filepath.Join(m.root, "containers/one")
	m.write("/containers/one/usr/bin/curl", "a program")
	for path, text := range files {
		m.write("/containers/one"+path, text)
	}
	m.isRoot(71, root, "overlay")
	is, err := os.Stat(filepath.Join(root, "usr/bin/curl"))
	if err != nil {
		t.Fatal(err)
	}
	return m, root, Process{PID: 71, Start: 5, UID: 0, Exe: "/usr/bin/curl", Elsewhere: true, file: idOf(is), Cgroup: "/system.slice/docker-" + containerID + ".scope"}
}

// isRoot makes a directory the root of a process, as if it were of that file system.
func (m machine) isRoot(pid int, dir, system string) {
	m.t.Helper()
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		m.t.Fatal(err)
	}
	_, mount, _ := strings.Cut(string(text), "mnt_id:")
	mount, _, _ = strings.Cut(strings.TrimSpace(mount), "\n")
	m.write(fmt.Sprintf("/proc/%d/mountinfo", pid), "1 0 0:1 / /proc rw - proc proc rw\n"+mount+" 0 0:2 / / rw,relatime - "+system+" x rw\n")
	if err := os.Symlink(dir, filepath.Join(m.root, fmt.Sprintf("/proc/%d/root", pid))); err != nil {
		m.t.Fatal(err)
	}
}

// name names a process as if nothing were known of its container.
func (m machine) name(p Process) (pkg string, known bool) {
	newNamer(m.root).Name(context.Background(), &p)
	return p.Package, !slices.Contains(p.Unknown, "package")
}

var (
	debian = map[string]string{
		"/var/lib/dpkg/info/bash.list": "/bin/bash\n", "/var/lib/dpkg/info/curl:amd64.list": "/.\n/usr/bin\n/usr/bin/curl\n", "/var/lib/dpkg/info/curl:amd64.md5sums": "",
		"/var/lib/dpkg/status": "Package: bash\nVersion: 5\n\nPackage: curl\nArchitecture: amd64\nVersion: 7.88.1-10+deb12u12\n",
	}
	alpine = map[string]string{"/lib/apk/db/installed": "P:busybox\nV:1\nF:bin\nR:busybox\n\nP:curl\nV:8.12.1-r1\nF:usr/bin\nR:curl\n\n"}
)

// TestPackagesInside: a program of a container is of the package that the container's own database says, also after its
// process has ended while another one of the container is there.
func TestPackagesInside(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		do    func(m machine, root string, p *Process)
		want  string
		known bool
	}{
		"Debian":                        {debian, nil, "curl 7.88.1-10+deb12u12", true},
		"Alpine":                        {alpine, nil, "curl 8.12.1-r1", true},
		"Alpine, moved to /usr":         {map[string]string{"/usr/lib/apk/db/installed": alpine["/lib/apk/db/installed"]}, nil, "curl 8.12.1-r1", true},
		"of no package":                 {map[string]string{"/var/lib/dpkg/info/bash.list": "/bin/bash\n"}, nil, "", true},
		"no database":                   {nil, nil, "", true},
		"rpm's database":                {map[string]string{"/var/lib/rpm/rpmdb.sqlite": "SQLite format 3"}, nil, "", false},
		"rpm's, of another age":         {map[string]string{"/usr/lib/sysimage/rpm/Packages.db": "x"}, nil, "", false},
		"the machine's packages do not": {nil, func(m machine, _ string, _ *Process) { m.write("/var/lib/dpkg/info/curl.list", "/usr/bin/curl\n") }, "", true},
		"a link within":                 {debian, func(m machine, root string, _ *Process) { moved(t, root, "/var/lib/dpkg", "/srv/dpkg", "/srv/dpkg") }, "curl 7.88.1-10+deb12u12", true},
		"a link upwards": {debian, func(m machine, root string, _ *Process) {
			moved(t, root, "/var/lib/dpkg", "/srv/dpkg", "../../../../../srv/dpkg")
		}, "curl 7.88.1-10+deb12u12", true},
		"it has ended": {debian, func(m machine, root string, p *Process) {
			m.isRoot(70, root, "overlay")
			m.write("/sys/fs/cgroup"+p.Cgroup+"/cgroup.procs", "71\n69\n70\n")
			p.PID = 72
		}, "curl 7.88.1-10+deb12u12", true},
		"all have ended":           {debian, func(_ machine, _ string, p *Process) { p.PID = 72 }, "", false},
		"it is not known which":    {debian, func(_ machine, _ string, p *Process) { p.file = fileID{} }, "", false},
		"it was deleted":           {debian, func(_ machine, _ string, p *Process) { p.Exe += " (deleted)" }, "", false},
		"another file at the path": {debian, func(_ machine, _ string, p *Process) { p.file.ino++ }, "", false},
		"a container of a user's": {debian, func(_ machine, _ string, p *Process) {
			p.Cgroup = "/user.slice/user-7.slice/user@7.service/app.slice/docker-" + containerID + ".scope"
		}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			m, root, p := contained(t, tt.files)
			if tt.do != nil {
				tt.do(m, root, &p)
			}
			if got, known := m.name(p); got != tt.want || known != tt.known {
				t.Errorf("%q, known: %v; want %q, %v", got, known, tt.want, tt.known)
			}
		})
	}
}

// moved moves a directory of a root and leaves a link.
func moved(t *testing.T, root, from, to, link string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(root, to)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(root, from), filepath.Join(root, to)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(link, filepath.Join(root, from)); err != nil {
		t.Fatal(err)
	}
}

// TestHostileContainers: whatever a container puts in the place of its database, nothing of the machine is read, nobody waits,
// and what it says is either the name of a package or not known.
func TestHostileContainers(t *testing.T) {
	claim := "P:amazon-ssm-agent\nV:1\nF:usr/bin\nR:curl\n\n"
	for name, do := range map[string]func(t *testing.T, m machine, root string){
		"a pipe in the place of a list": func(t *testing.T, _ machine, root string) {
			replace(t, root, "/var/lib/dpkg/info/bash.list", func(at string) error { return unix.Mkfifo(at, 0o666) })
		},
		"a pipe in the place of a database": func(t *testing.T, _ machine, root string) {
			replace(t, root, "/lib/apk/db/installed", func(at string) error { return unix.Mkfifo(at, 0o666) })
		},
		"a device": func(t *testing.T, _ machine, root string) {
			replace(t, root, "/var/lib/dpkg/info/bash.list", func(at string) error { return unix.Mknod(at, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) })
		},
		"a socket": func(t *testing.T, _ machine, root string) {
			replace(t, root, "/var/lib/dpkg/info/bash.list", func(at string) error { return unix.Mknod(at, unix.S_IFSOCK|0o666, 0) })
		},
		"a directory": func(t *testing.T, _ machine, root string) {
			replace(t, root, "/var/lib/dpkg/info/bash.list", func(at string) error { return os.Mkdir(at, 0o755) })
		},
		"a file in the place of the directory": func(t *testing.T, _ machine, root string) {
			replace(t, root, "/var/lib/dpkg/info", func(at string) error { return os.WriteFile(at, []byte("x"), 0o644) })
		},
		"a loop of links": func(t *testing.T, _ machine, root string) {
			replace(t, root, "/var/lib/dpkg/info", func(at string) error { return os.Symlink("info", at) })
		},
		"a link of the kernel's that leads out": func(t *testing.T, m machine, root string) {
			m.write("/outside/dpkg/info/x.list", "/usr/bin/curl\n")
			replace(t, root, "/var/lib/dpkg", func(at string) error { return os.Symlink("/proc/self/root"+filepath.Join(m.root, "outside/dpkg"), at) })
			if err := os.MkdirAll(filepath.Join(root, "proc"), 0o755); err != nil {
				t.Fatal(err)
			}
			mount(t, "proc", filepath.Join(root, "proc"), "proc")
		},
		"another file system": func(t *testing.T, _ machine, root string) {
			replace(t, root, "/var/lib/dpkg/info", func(at string) error { return os.Mkdir(at, 0o755) })
			mount(t, "tmpfs", filepath.Join(root, "var/lib/dpkg/info"), "tmpfs")
			if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/info/x.list"), []byte("/usr/bin/curl\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"a list without end": func(t *testing.T, _ machine, root string) { grow(t, root, "/var/lib/dpkg/info/bash.list", 1<<40) },
		"a line without end": func(t *testing.T, _ machine, root string) { grow(t, root, "/lib/apk/db/installed", 1<<40) },
		"much to read": func(t *testing.T, _ machine, root string) {
			for i := range 5 {
				grow(t, root, fmt.Sprintf("/var/lib/dpkg/info/p%d.list", i), mostList-1)
			}
		},
		"a name with an escape sequence": func(t *testing.T, m machine, _ string) {
			m.write("/containers/one/lib/apk/db/installed", "P:curl\x1b]0;x\x07\nV:1\nF:usr/bin\nR:curl\n\n")
		},
		"a version that looks like more": func(t *testing.T, m machine, _ string) {
			m.write("/containers/one/lib/apk/db/installed", "P:curl\nV:1 and all is well\nF:usr/bin\nR:curl\n\n")
		},
		"a name of 1,000 bytes": func(t *testing.T, m machine, _ string) {
			m.write("/containers/one/lib/apk/db/installed", strings.Replace(claim, "amazon", strings.Repeat("a", 1000), 1))
		},
		"a root whose system a program answers for": func(t *testing.T, m machine, root string) {
			m.write("/containers/one/lib/apk/db/installed", claim)
			if err := os.Remove(filepath.Join(m.root, "proc/71/root")); err != nil {
				t.Fatal(err)
			}
			m.isRoot(71, root, "fuse.x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, root, p := contained(t, map[string]string{"/var/lib/dpkg/info/bash.list": "/bin/bash\n", "/lib/apk/db/installed": "P:busybox\nV:1\nF:bin\nR:busybox\n\n"})
			do(t, m, root)
			if got, known := m.name(p); got != "" || known {
				t.Errorf("%q, known: %v", got, known)
			}
		})
	}
}

func replace(t *testing.T, root, path string, with func(at string) error) {
	t.Helper()
	at := filepath.Join(root, path)
	if err := os.RemoveAll(at); err != nil {
		t.Fatal(err)
	}
	if err := with(at); err != nil {
		t.Skip(err)
	}
}

// grow makes a file that long, of a hole.
func grow(t *testing.T, root, path string, size int64) {
	t.Helper()
	at := filepath.Join(root, path)
	if err := os.WriteFile(at, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(at, size); err != nil {
		t.Skip(err)
	}
}

func mount(t *testing.T, source, at, system string) {
	t.Helper()
	if err := unix.Mount(source, at, system, 0, ""); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

// TestSearchThatDoesNotEnd: a file system that never answers holds nobody up for longer than a search may take, and costs one
// search, however many ask.
func TestSearchThatDoesNotEnd(t *testing.T) {
	m, _, p := contained(t, alpine)
	n := newNamer(m.root)
	real, let, begun := n.inside.search, make(chan struct{}), make(chan struct{}, 1)
	n.inside.search = func(context.Context, *Process) (string, bool) {
		begun <- struct{}{}
		<-let
		return "late", true
	}
	other := p
	other.file.ino++
	for _, asked := range []Process{p, other} {
		n.Name(context.Background(), &asked)
		if asked.Package != "" || !slices.Contains(asked.Unknown, "package") {
			t.Errorf("%q, unknown %v", asked.Package, asked.Unknown)
		}
	}
	<-begun
	if len(begun) > 0 {
		t.Error("a second search began beside the first one")
	}
	close(let)
	n.inside.search = func(ctx context.Context, p *Process) (string, bool) { return real(ctx, p) }
	n.inside.place <- struct{}{} // the first one has ended
	<-n.inside.place
	n.inside.spare = searchSpare
	n.inside.found = newLRU[insideKey, insideFound](1)
	if n.Name(context.Background(), &p); p.Package != "curl 8.12.1-r1" {
		t.Errorf("afterwards: %+v", p)
	}
}

// TestSearchesAreBounded: searches take a share of the time, and no more.
func TestSearchesAreBounded(t *testing.T) {
	i, now := newInside(newNamer("/")), time.Now()
	spent := time.Duration(0)
	for end := now.Add(10 * time.Minute); now.Before(end); now = now.Add(100 * time.Millisecond) {
		if i.may(now) {
			i.took(100 * time.Millisecond)
			spent += 100 * time.Millisecond
		}
	}
	if most := searchSpare + 10*time.Minute/searchShare + 100*time.Millisecond; spent > most || spent < most-time.Second {
		t.Errorf("searches took %v of ten minutes, want %v", spent, most)
	}
}

// TestContainerOfThisMachine: the same with a process that really has another root.
func TestContainerOfThisMachine(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may change its root")
	}
	root := t.TempDir()
	m := machine{t, root}
	for path, text := range alpine {
		m.write(path, text)
	}
	m.write("/usr/bin/main.go", "package main\n\nimport \"os\"\n\nfunc main() { _, _ = os.Stdin.Read(make([]byte, 1)) }\n")
	build := exec.Command("go", "build", "-o", "curl", "main.go")
	build.Dir, build.Env = filepath.Join(root, "usr/bin"), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command("sh", "-ec", `mount --bind "$0" "$0" && cd "$0" && mkdir old && pivot_root . old && exec /usr/bin/curl`, root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	open, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = open.Close(); <-ended })
	n := New()
	var p Process
	for p.Comm != "curl" {
		select {
		case err := <-ended:
			ended <- err
			t.Skip("no process with another root: ", err)
		default:
		}
		p = n.Look(cmd.Process.Pid)
	}
	p.Cgroup = "/system.slice/docker-" + containerID + ".scope"
	n.Name(t.Context(), &p)
	if p.Exe != "/usr/bin/curl" || p.Package != "curl 8.12.1-r1" || slices.Contains(p.Unknown, "package") {
		t.Errorf("%+v", p)
	}
}
