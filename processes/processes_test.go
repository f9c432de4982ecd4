package processes

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The paths are as engines and systemd made them on real machines.
func TestCgroups(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, row := range []struct {
		path, unit string
		want       Container
	}{
		{"/", "", Container{}},
		{"/user.slice/user-1000.slice/session-3.scope", "session-3.scope", Container{}},
		{"/system.slice/cron.service", "cron.service", Container{}},
		{"/system.slice/containerd.service/kubepods-x", "containerd.service", Container{}},
		{"/user.slice/user-1000.slice/user@1000.service/app.slice/app-web\\x2d1.service", "app-web\\x2d1.service", Container{}},
		{"/init.scope", "init.scope", Container{}},
		{"/system.slice/_cpu.service", "cpu.service", Container{}},
		{"/docker/" + id, "", Container{ID: id, Engine: "docker"}},
		{"/system.slice/docker-" + id + ".scope", "docker-" + id + ".scope", Container{ID: id, Engine: "docker"}},
		{"/machine.slice/libpod-" + id + ".scope/container", "libpod-" + id + ".scope", Container{ID: id, Engine: "podman"}},
		{"/libpod_parent/libpod-" + id, "", Container{ID: id, Engine: "podman"}},
		{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id + ".scope", "libpod-" + id + ".scope", Container{ID: id, Engine: "podman"}},
		{"/system.slice/nerdctl-" + id + ".scope", "nerdctl-" + id + ".scope", Container{ID: id, Engine: "containerd"}},
		{"/default/" + id, "", Container{ID: id}},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod3f2504e0_4f89_41d3_9a0c_0305e82c3301.slice/cri-containerd-" + id + ".scope",
			"cri-containerd-" + id + ".scope", Container{ID: id, Engine: "containerd", Pod: "3f2504e0-4f89-41d3-9a0c-0305e82c3301"}},
		{"/kubepods.slice/kubepods-pod3f2504e0_4f89_41d3_9a0c_0305e82c3301.slice/crio-" + id + ".scope",
			"crio-" + id + ".scope", Container{ID: id, Engine: "cri-o", Pod: "3f2504e0-4f89-41d3-9a0c-0305e82c3301"}},
		{"/kubepods/besteffort/pod3f2504e0-4f89-41d3-9a0c-0305e82c3301/" + id, "", Container{ID: id, Pod: "3f2504e0-4f89-41d3-9a0c-0305e82c3301"}},
		{"/kubepods-besteffort-pod3f2504e0_4f89_41d3_9a0c_0305e82c3301.slice:cri-containerd:" + id, "", Container{}},
		{"/ecs/4ffa1a3e5ee1421a9d6a3bcc64b3a2f1/" + id, "", Container{ID: id, Engine: "ecs"}},
		{"/ecs/4ffa1a3e5ee1421a9d6a3bcc64b3a2f1/4ffa1a3e5ee1421a9d6a3bcc64b3a2f1-2495160603", "", Container{ID: "4ffa1a3e5ee1421a9d6a3bcc64b3a2f1-2495160603", Engine: "ecs"}},
		{"/ecstasks.slice/ecstasks-4ffa1a3e5ee1421a9d6a3bcc64b3a2f1.slice/docker-" + id + ".scope", "docker-" + id + ".scope", Container{ID: id, Engine: "ecs"}},
		{"/lxc/web", "", Container{ID: "web", Engine: "lxc"}},
		{"/lxc.payload.web/system.slice/nginx.service", "nginx.service", Container{ID: "web", Engine: "lxc"}},
		{"/machine.slice/machine-web\\x2d1.scope", "machine-web\\x2d1.scope", Container{ID: "web-1", Engine: "nspawn"}},
		{"/machine.slice/systemd-nspawn@web.service/payload", "systemd-nspawn@web.service", Container{ID: "web", Engine: "nspawn"}},
		{"/docker/" + id[:63], "", Container{}},
	} {
		got, ok := ContainerOf(row.path)
		if got != row.want || ok != (row.want.ID != "") {
			t.Errorf("%s: %+v, %v; want %+v", row.path, got, ok, row.want)
		}
		if unit := UnitOf(row.path); unit != row.unit {
			t.Errorf("%s: unit %q, want %q", row.path, unit, row.unit)
		}
	}
}

func TestCgroupOfManyHierarchies(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"0::/system.slice/cron.service\n":                                      "/system.slice/cron.service",
		"12:cpu:/\n1:name=systemd:/system.slice/cron.service\n0::/\n":          "/system.slice/cron.service",
		"5:memory:/docker/" + id + "\n1:name=systemd:/docker.service\n0::/x\n": "/docker/" + id,
		"2:cpu:/\n0::/mine\n":                                                  "/mine",
		"0::/\n":                                                               "/",
		"0::/../outside\n":                                                     "/../outside",
		"":                                                                     "",
		"garbage\n0:x\n":                                                       "",
	} {
		if got := cgroupOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// machine is a root directory of a machine that is made of files.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T) machine { return machine{t, t.TempDir()} }

func (m machine) write(path, text string) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m machine) process(pid, parent int, comm, exe, argv, cgroup string, uid int, start uint64) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	m.write(dir+"stat", fmt.Sprintf("%d (%s) S %d 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 %d 1 1 1", pid, comm, parent, start))
	m.write(dir+"cmdline", strings.ReplaceAll(argv, " ", "\x00")+"\x00")
	m.write(dir+"status", fmt.Sprintf("Name:\t%s\nUid:\t0\t%d\t0\t0\n", comm, uid))
	m.write(dir+"cgroup", "0::"+cgroup+"\n")
	if exe != "" {
		_ = os.Remove(filepath.Join(m.root, dir, "exe"))
		if err := os.Symlink(exe, filepath.Join(m.root, dir, "exe")); err != nil {
			m.t.Fatal(err)
		}
	}
}

func TestDescribe(t *testing.T) {
	m := newMachine(t)
	m.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/false\nother:x:33:1::/:/x\n")
	m.write("/var/lib/dpkg/info/curl.list", "/.\n/usr/bin\n/usr/bin/curl\n")
	m.write("/var/lib/dpkg/info/dash:amd64.list", "/bin\n/bin/sh\n")
	m.write("/var/lib/dpkg/status", "Package: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 8.5.0-2\n\nPackage: dash\nArchitecture: amd64\nVersion: 0.5\n")
	m.process(1, 0, "systemd", "/sbin/init", "/sbin/init", "/init.scope", 0, 1)
	m.process(70, 1, "cron (x) y", "/usr/sbin/cron", "cron -f", "/system.slice/cron.service", 0, 50)
	m.process(71, 70, "curl", "/usr/bin/curl", "curl -s http://169.254.169.254/ --token hush", "/system.slice/cron.service", 33, 100)
	n := newNamer(m.root)
	got := n.Describe(context.Background(), 71, 100)
	got.file = fileID{} // the machine that runs the test may have the path, too
	want := Process{PID: 71, Start: 100, Comm: "curl", Exe: "/usr/bin/curl", Argv: []string{"curl", "-s", "http://169.254.169.254/", "--token", "[hidden]"},
		UID: 33, User: "web", Cgroup: "/system.slice/cron.service", Unit: "cron.service", Package: "curl 8.5.0-2",
		Parents: []Parent{{70, "cron (x) y"}, {1, "systemd"}}}
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// Moved from /bin to /usr/bin, with a package from before.
	m.process(72, 1, "sh", "/usr/bin/sh", "sh", "/x", 7, 101)
	if got := n.Describe(context.Background(), 72, 0); got.Package != "dash 0.5" || got.User != "" || !slices.Contains(got.Unknown, "user") {
		t.Errorf("%+v", got)
	}
	// Another process has the number now; a process that is none.
	for _, p := range []Process{n.Describe(context.Background(), 71, 99), n.Describe(context.Background(), 9999, 0)} {
		if p.Exe != "" || !slices.Contains(p.Unknown, "exe") || !slices.Contains(p.Unknown, "argv") || p.UID != -1 {
			t.Errorf("%+v", p)
		}
	}
	// The same process has executed something else.
	m.process(71, 70, "wget", "/usr/bin/wget", "wget x", "/system.slice/cron.service", 33, 100)
	if got := n.Describe(context.Background(), 71, 100); got.Exe != "/usr/bin/wget" || got.Package != "" {
		t.Errorf("%+v", got)
	}
}

func TestApk(t *testing.T) {
	m := newMachine(t)
	m.write("/lib/apk/db/installed", "C:Q1\nP:busybox\nV:1.36.1-r5\nF:bin\nR:busybox\na:0:0:755\nF:etc\nR:x\n\nP:curl\nV:8.5.0-r0\nF:usr\nF:usr/bin\nR:curl\n\n")
	n := newNamer(m.root)
	for path, want := range map[string]string{"/bin/busybox": "busybox 1.36.1-r5", "/usr/bin/curl": "curl 8.5.0-r0", "/usr/bin/wget": "", "curl": "", "/usr/bin/curl (deleted)": "curl 8.5.0-r0"} {
		if got, known := n.packageOf(context.Background(), path); got != want || !known {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// ending is a context that ends while it is asked whether it has.
type ending struct {
	context.Context
	asked, after int
}

func (e *ending) Err() error {
	if e.asked++; e.asked > e.after {
		return context.Canceled
	}
	return nil
}

// TestSearchEnds: a search through the lists of packages ends with its context, what it has not found by then is
// unknown, and the next search finds it.
func TestSearchEnds(t *testing.T) {
	m := newMachine(t)
	const lists = 100
	for i := range lists {
		m.write(fmt.Sprintf("/var/lib/dpkg/info/p%03d.list", i), fmt.Sprintf("/usr/bin/p%03d\n", i))
	}
	m.process(71, 1, "p099", "/usr/bin/p099", "p099", "/x", 0, 100)
	n := newNamer(m.root)
	ctx := &ending{Context: context.Background(), after: 10}
	if p := n.Describe(ctx, 71, 0); p.Package != "" || !slices.Contains(p.Unknown, "package") {
		t.Errorf("a search that was ended: %+v", p)
	}
	if ctx.asked > lists/2 {
		t.Errorf("it went on: the context was asked %d times", ctx.asked)
	}
	// A stop has thousands of calls left to be named: nothing is looked for any more, not even a list of files.
	over, end := context.WithCancel(context.Background())
	end()
	if made := testing.AllocsPerRun(10, func() { n.packageOf(over, "/usr/bin/p099") }); made > lists/10 {
		t.Errorf("a search that is over before it begins makes %v things: it lists %d files", made, lists)
	}
	if p := n.Describe(context.Background(), 71, 0); p.Package != "p099" || slices.Contains(p.Unknown, "package") {
		t.Errorf("the next one: %+v", p)
	}
}

func TestEngines(t *testing.T) {
	m := newMachine(t)
	id := func(c string) string { return strings.Repeat(c, 64) }
	m.write("/run/containerd/io.containerd.runtime.v2.task/k8s.io/"+id("a")+"/config.json",
		`{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"web-0","io.kubernetes.cri.sandbox-namespace":"shop"}}`)
	m.write("/run/containerd/io.containerd.runtime.v2.task/default/"+id("b")+"/config.json", `{"annotations":{"nerdctl/name":"db"}}`)
	m.write("/run/containers/storage/overlay-containers/"+id("c")+"/userdata/config.json", `{"annotations":{"io.kubernetes.container.name":"x","io.kubernetes.pod.name":"p","io.kubernetes.pod.namespace":"n"}}`)
	m.write("/var/lib/docker/containers/"+id("d")+"/config.v2.json", `{"ID":"x","Name":"/front"}`)
	m.write("/var/lib/containers/storage/overlay-containers/containers.json", `[{"id":"`+id("e")+`","names":["pod-man"]}]`)
	n := newNamer(m.root)
	asked := 0
	n.ask = func(context.Context, string) (string, string, bool) { asked++; return "asked", "", asked > 1 }
	for _, row := range []struct{ in, want Container }{
		{Container{ID: id("a"), Engine: "containerd", Pod: "uid"}, Container{ID: id("a"), Engine: "containerd", Pod: "shop/web-0", Name: "app"}},
		{Container{ID: id("b")}, Container{ID: id("b"), Name: "db"}},
		{Container{ID: id("c"), Engine: "cri-o"}, Container{ID: id("c"), Engine: "cri-o", Pod: "n/p", Name: "x"}},
		{Container{ID: id("d"), Engine: "docker"}, Container{ID: id("d"), Engine: "docker", Name: "front"}},
		{Container{ID: id("e"), Engine: "podman"}, Container{ID: id("e"), Engine: "podman", Name: "pod-man"}},
		{Container{ID: "web", Engine: "lxc"}, Container{ID: "web", Engine: "lxc", Name: "web"}},
		{Container{ID: id("f"), Engine: "docker"}, Container{ID: id("f"), Engine: "docker"}},
		{Container{ID: "../../etc", Engine: "lxc"}, Container{ID: "../../etc", Engine: "lxc", Name: "../../etc"}},
	} {
		if got := n.container(context.Background(), row.in); got != row.want {
			t.Errorf("%+v, want %+v", got, row.want)
		}
	}
}

// TestPosing: a user names control groups and files of its own as it likes, and is not taken for a container or a package of
// the machine.
func TestPosing(t *testing.T) {
	m := newMachine(t)
	id := strings.Repeat("a", 64)
	m.write("/var/lib/docker/containers/"+id+"/config.v2.json", `{"ID":"x","Name":"/payments"}`)
	m.write("/var/lib/dpkg/info/agent.list", "/usr/bin/agent\n")
	m.write("/usr/bin/agent", "the package's")
	m.write("/home/user/agent", "the user's, which is at /usr/bin/agent in its own file system")
	const exe, own = "/usr/bin/agent", "/home/user/agent"
	n := newNamer(m.root)
	for name, tt := range map[string]struct{ cgroup, exe, container, pkg string }{
		"docker's":           {"/system.slice/docker-" + id + ".scope", exe, "payments", ""},
		"a user's group":     {"/user.slice/user-7.slice/user@7.service/app.slice/docker-" + id + ".scope", exe, "", ""},
		"the package's":      {"/system.slice/agent.service", exe, "", "agent"},
		"a user's own files": {"/system.slice/agent.service", own, "", ""},
	} {
		m.process(7, 1, "agent", exe, "agent", tt.cgroup, 7, 1)
		p := n.Look(7)
		executed, err := os.Stat(filepath.Join(m.root, tt.exe)) // a link of /proc leads to the file itself
		if err != nil {
			t.Fatal(err)
		}
		p.Elsewhere = n.elsewhere(executed, exe)
		n.Name(t.Context(), &p)
		container := ""
		if p.Container != nil {
			container = p.Container.Name
		}
		if container != tt.container || p.Package != tt.pkg || (tt.pkg == "") != slices.Contains(p.Unknown, "package") {
			t.Errorf("%s: the container %q, the package %q, unknown %v", name, container, p.Package, p.Unknown)
		}
	}
}

// The engine's socket speaks HTTP; one that never answers holds nothing up for longer than its time.
func TestAskSocket(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("engines run on Linux")
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/containers/one/json":
			_, _ = w.Write([]byte(`{"Name":"/front","Config":{"Labels":{"a":"b"}}}`))
		case "/containers/two/json":
			_, _ = w.Write([]byte(`{"Name":"/k8s_x","Config":{"Labels":{"io.kubernetes.container.name":"app","io.kubernetes.pod.name":"p","io.kubernetes.pod.namespace":"n"}}}`))
		case "/containers/slow/json":
			<-r.Context().Done()
		default:
			http.Error(w, `{"message":"No such container"}`, http.StatusNotFound)
		}
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	for id, want := range map[string]string{"one": "front  true", "two": "app n/p true", "none": "  false"} {
		name, pod, ok := askSocket(context.Background(), socket, id)
		if got := fmt.Sprintf("%s %s %v", name, pod, ok); got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, ok := askSocket(ctx, socket, "slow"); ok {
		t.Error("an answer from who gives none")
	}
}

func TestDescribeThisMachine(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/proc is Linux's")
	}
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	n := New()
	var p Process
	for p.Comm != "sleep" { // until it has executed
		p = n.Describe(context.Background(), cmd.Process.Pid, 0)
	}
	if !slices.Equal(p.Argv, []string{"sleep", "600"}) || p.UID != os.Geteuid() || p.Parents[0].PID != os.Getpid() || p.Start == 0 || p.Cgroup == "" {
		t.Errorf("%+v", p)
	}
}

func TestLRU(t *testing.T) {
	l := newLRU[int, int](3)
	for i := range 10 {
		l.put(i, i)
		l.get(0)
	}
	var kept []int
	for i := range 10 {
		if _, ok := l.get(i); ok {
			kept = append(kept, i)
		}
	}
	if !slices.Equal(kept, []int{0, 8, 9}) || l.order.Len() != 3 || len(l.at) != 3 {
		t.Errorf("%v", kept)
	}
}

func TestHolder(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/proc is Linux's")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = l.Close() }()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	var inode, netns uint64
	link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if _, err := fmt.Sscanf(link, "socket:[%d]", &inode); err != nil {
		t.Fatal(link, err)
	}
	link, _ = os.Readlink("/proc/self/ns/net")
	if _, err := fmt.Sscanf(link, "net:[%d]", &netns); err != nil {
		t.Fatal(link, err)
	}
	for _, in := range []uint64{0, netns} {
		if pid, ok := Holder(inode, in); pid != os.Getpid() || !ok {
			t.Errorf("in %d: %d, %v", in, pid, ok)
		}
	}
	if pid, ok := Holder(inode, netns+1); ok {
		t.Errorf("in another namespace: %d", pid)
	}
	if pid, ok := Holder(1<<60, 0); ok {
		t.Errorf("of no socket: %d", pid)
	}
	if held := Holders(map[uint64]bool{inode: true, 1 << 60: true}); len(held) != 1 || held[inode] != os.Getpid() {
		t.Errorf("%v", held)
	}
	_ = f.Close()
	_ = l.Close()
	if pid, ok := Holder(inode, 0); ok {
		t.Errorf("of a closed socket: %d", pid)
	}
}
