package trace

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/processes"
	"golang.org/x/sys/unix"
)

// systemd names the unit of an imdsd after the process that it serves.
func TestClientsOfIMDSD(t *testing.T) {
	cs := newCallers(processes.New(), nil)
	for group, pid := range map[string]int{
		fmt.Sprintf("/system.slice/system-systemd\\x2dimdsd.slice/systemd-imdsd@12-%d-0.service", os.Getpid()):         os.Getpid(),
		fmt.Sprintf("/system.slice/system-systemd\\x2dimdsd.slice/systemd-imdsd@12-%d_4711-1000.service", os.Getpid()): os.Getpid(),
		"/system.slice/systemd-imdsd@0.service":     0,
		"/system.slice/systemd-imdsd@1-0-0.service": 0,
		"/system.slice/other@12-1-0.service":        0,
		"/user.slice/systemd-imdsd@x-1-0.service":   0,
		fmt.Sprintf("/user.slice/user-7.slice/user@7.service/app.slice/systemd-imdsd@12-%d-0.service", os.Getpid()): 0,
		"/system.slice/systemd-imdsd@1-2-3-4.service":                                                               0,
	} {
		got := cs.clientsOf(processes.Process{Comm: imdsd, Cgroup: group})
		switch {
		case pid == 0 && len(got) > 0, pid != 0 && (len(got) != 1 || got[0].PID != pid || got[0].Comm == ""):
			t.Errorf("%s: %+v", group, got)
		}
	}
}

// A process whose number is another one's by now is not taken for it; what the kernel told remains.
func TestLookIsOfThatProcess(t *testing.T) {
	cs := newCallers(processes.New(), nil)
	e := event{image: image{pid: os.Getpid(), mm: 1, argStart: 1}, comm: "gone", exec: "/bin/gone", args: []byte("gone\x00--token\x00hush\x00"), uid: 7}
	p := cs.look(e)
	if p.Comm != "gone" || p.Exe != "/bin/gone" || !slices.Equal(p.Argv, []string{"gone", "--token", "[hidden]"}) || p.UID != 7 || p.Start != 0 ||
		!slices.Contains(p.Unknown, "parents") || slices.Contains(p.Unknown, "argv") {
		t.Errorf("%+v", p)
	}
	own, err := ownArgs()
	if err != nil {
		t.Skip(err)
	}
	e.image.argStart = own[0]
	if p := cs.look(e); p.Comm == "gone" || p.Start == 0 || len(p.Parents) == 0 {
		t.Errorf("%+v", p)
	}
}

// Callers are remembered, up to a number.
func TestCallersAreBounded(t *testing.T) {
	cs := newCallers(processes.New(), nil)
	at := func(i int) event { return event{image: image{pid: 1 << 30, mm: 1, argStart: uint64(i + 1)}, comm: "c"} }
	for i := range images + 10 {
		cs.of(at(i))
	}
	if len(cs.known) != images || len(cs.order) != images {
		t.Errorf("%d, %d kept", len(cs.known), len(cs.order))
	}
	latest := cs.of(at(images + 9))
	if again := cs.of(at(images + 9)); again != latest {
		t.Error("a caller is two")
	}
}

// A kernel that does not show command lines has them read from /proc.
func TestWithoutLayout(t *testing.T) {
	curl := program(t, "curl")
	n := newNetwork(t)
	n.serve(http.HandlerFunc(metadata))
	k, err := openKernel(func() (layout, error) { return layout{}, errNoLayout }, nil)
	if err != nil {
		t.Skip(err)
	}
	defer k.close()
	if !strings.Contains(k.describe(), "/proc") {
		t.Error(k.describe())
	}
	pid := n.run(curl, "-s", "http://169.254.169.254/latest/")
	for {
		e, err := k.next(time.Now().Add(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if e.image.pid != pid {
			continue
		}
		if e.kind != kindConnect || e.comm != "curl" || e.image.mm != 0 || e.cgroup == 0 || e.addr != imds {
			t.Errorf("%+v", e)
		}
		return
	}
}

// The unified hierarchy is there also where nobody has mounted it.
func TestMountPrivately(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	root, err := mountPrivately()
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = root.Close() }()
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(root.Fd()), &s); err != nil || s.Type != unix.CGROUP2_SUPER_MAGIC {
		t.Errorf("%#x, %v", s.Type, err)
	}
	k := &kernel{groups: root}
	defer k.close()
	sample, err := openKernel(findLayout, nil) // for its maps
	if err != nil {
		t.Skip(err)
	}
	defer sample.close()
	if err := k.attach(packetProgram(sample.maps, ends{}, sent)); err != nil {
		t.Error(err)
	}
	var self unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &self); err != nil {
		t.Fatal(err)
	}
	if path := groupPath(root, self.Ino); path != "/" {
		t.Errorf("the root is %q", path)
	}
}
