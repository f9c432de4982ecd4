package sandbox

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// In this mode the test binary is a program that runs its arguments in a sandbox.
const runnerMode = "SANDBOX_TEST_NETWORK"

func TestMain(m *testing.M) {
	together = time.Second // for machines that are busy
	Warden()
	if network := os.Getenv(runnerMode); network != "" {
		os.Exit(runner(Network(network), os.Args[1:]))
	}
	os.Exit(m.Run())
}

// runner runs a command in a sandbox where every answer names the caller.
func runner(network Network, args []string) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, "runner:", err); return 99 }
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fail(err)
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, Signals()...)
	var c *Command
	started := make(chan struct{})
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-started
		p, ok := c.Caller(netip.MustParseAddrPort(r.RemoteAddr))
		fmt.Fprintln(w, r.Host, ok, p.Args)
	})
	c, err = Start(Config{
		Path: path, Args: args, Env: os.Environ(), Network: network,
		Serve: func(l *net.TCPListener) error { go func() { _ = http.Serve(l, answer) }(); return nil },
		Note:  func(text string) { fmt.Fprintln(os.Stderr, "note:", text) },
	})
	if err != nil {
		return fail(err)
	}
	close(started)
	go func() {
		for s := range signals {
			_ = c.Signal(s)
		}
	}()
	code, err := c.Wait(context.Background())
	if err != nil {
		return fail(err)
	}
	return code
}

// patience bounds every wait; no test waits for it unless it fails.
const patience = 3 * time.Minute

// program is the test binary where every user may run it.
func program(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sandbox-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(dir+"/runner", self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir + "/runner"
}

// asUsers prepares the runner with a shell script, as each kind of user that this machine lets it be.
func asUsers(t *testing.T, network Network, script string, test func(*testing.T, *exec.Cmd)) {
	if out, err := exec.Command("unshare", "-Urn", "true").CombinedOutput(); err != nil {
		t.Skipf("this user may not make namespaces here: %v %s", err, out)
	}
	path := program(t)
	users := map[string]*syscall.Credential{"this user": nil}
	if os.Geteuid() == 0 {
		users["nobody"] = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	for name, credential := range users {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(path, "sh", "-c", script)
			cmd.Env = append(os.Environ(), runnerMode+"="+string(network))
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Setpgid: true}
			test(t, cmd)
		})
	}
}

// The command is what it would be outside, and finds the addresses.
func TestRun(t *testing.T) {
	needPrograms(t, "curl")
	const script = `id -u; pwd; curl -sm 60 http://169.254.169.254/; grep -E 'Cap(Inh|Amb)' /proc/self/status; cat; exit 7`
	asUsers(t, None, script, func(t *testing.T, cmd *exec.Cmd) {
		cmd.Stdin = strings.NewReader("standard input")
		out, err := cmd.Output()
		if code := cmd.ProcessState.ExitCode(); code != 7 {
			t.Errorf("exit code %d, %v", code, err)
		}
		uid := os.Geteuid()
		if cmd.SysProcAttr.Credential != nil {
			uid = 65534
		}
		want := fmt.Sprintf("%d\n/\n169.254.169.254 true [curl -sm 60 http://169.254.169.254/]\n"+
			"CapInh:\t0000000000000000\nCapAmb:\t0000000000000000\nstandard input", uid)
		if string(out) != want {
			t.Errorf("got\n%s\nwant\n%s", out, want)
		}
	})
}

// byLink asks at both addresses from a socket that is bound to the only link there is.
const byLink = `link=$(ip -o link show up | sed -n '/LOOPBACK\|-end@/!s/^[0-9]*: \([^:@]*\).*/\1/p')
	for a in 169.254.169.254 '[fd00:ec2::254]'; do
		curl -sgm 9 --interface "$link" "http://$a/by-link"; curl -sgm 9 --interface "$link" --local-port 1024-1999 "http://$a/by-port"
	done`

func checkByLink(t *testing.T, out []byte, err error) {
	t.Helper()
	for _, want := range []string{"169.254.169.254 true [curl", "[fd00:ec2::254] true [curl"} {
		if n := strings.Count(string(out), want); err != nil || n != 2 {
			t.Errorf("%v, %d answers with %q in\n%s", err, n, want, out)
		}
	}
}

// What binds to the link of a command without a network finds the addresses behind it.
func TestLink(t *testing.T) {
	needPrograms(t, "curl", "ip")
	asUsers(t, None, byLink, func(t *testing.T, cmd *exec.Cmd) {
		out, err := cmd.CombinedOutput()
		checkByLink(t, out, err)
	})
}

func needPrograms(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("there is no %s on this machine", name)
		}
	}
}

// A signal for the runner alone is passed on; one for the whole group comes once.
func TestSignals(t *testing.T) {
	const script = `trap 'echo caught' USR1; echo ready; while :; do sleep 0.05; done`
	for _, group := range []bool{false, true} {
		t.Run(fmt.Sprint("group=", group), func(t *testing.T) {
			asUsers(t, None, script, func(t *testing.T, cmd *exec.Cmd) {
				lines := start(t, cmd)
				to := cmd.Process.Pid
				if group {
					to = -to
				}
				if err := syscall.Kill(to, syscall.SIGUSR1); err != nil {
					t.Fatal(err)
				}
				if got := next(t, lines); got != "caught" {
					t.Errorf("%q", got)
				}
				if err := syscall.Kill(cmd.Process.Pid, syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				for line := range lines {
					t.Errorf("and then %q", line)
				}
				_ = cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != 128+15 {
					t.Errorf("exit code %d", code)
				}
			})
		})
	}
}

// Whoever is killed, and whatever the command leaves running: nothing stays.
func TestNothingStays(t *testing.T) {
	mark := fmt.Sprintf("%d.%d", 1000+os.Getpid(), time.Now().UnixNano()%1e9) // seconds that nobody else sleeps
	for name, script := range map[string]string{
		"killed": "sleep " + mark + " & setsid sleep " + mark + " & echo ready; sleep " + mark,
		"ended":  "sleep " + mark + " & setsid sleep " + mark + " & echo ready",
	} {
		t.Run(name, func(t *testing.T) {
			asUsers(t, None, script, func(t *testing.T, cmd *exec.Cmd) {
				for range start(t, cmd) {
				}
				_ = cmd.Wait()
				if name == "killed" && cmd.ProcessState.ExitCode() != -1 {
					t.Errorf("it ended with %v", cmd.ProcessState)
				}
				for deadline := time.Now().Add(patience); sleeping(mark); time.Sleep(10 * time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("a process of the command is still there")
					}
				}
			})
		})
	}
}

// start starts the runner and returns its lines behind "ready". For TestNothingStays it is then killed.
func start(t *testing.T, cmd *exec.Cmd) <-chan string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := make(chan string, 16)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	if got := next(t, lines); got != "ready" {
		t.Fatalf("%q", got)
	}
	if strings.HasPrefix(t.Name(), "TestNothingStays/killed") {
		_ = cmd.Process.Kill()
	}
	return lines
}

func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line := <-lines:
		return line
	case <-time.After(patience):
		t.Fatal("nothing was said")
		return ""
	}
}

func sleeping(mark string) bool {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range all {
		if line, _ := os.ReadFile(file); string(line) == "sleep\x00"+mark+"\x00" {
			return true
		}
	}
	return false
}

// The rest of the network is there by either program.
func TestNetwork(t *testing.T) {
	for _, way := range []Network{Pasta, Slirp4netns} {
		t.Run(string(way), func(t *testing.T) {
			if found(string(way)) == "" {
				t.Skipf("%s is not installed", way)
			}
			needPrograms(t, "curl", "ip")
			if os.Geteuid() != 0 {
				t.Skip("a host with a network of its own needs root")
			}
			// A host whose only way out leads nowhere; /dev/net/tun is for all.
			path := program(t)
			host := exec.Command("unshare", "-nm", "sh", "-ec", `
				ip link set lo up; ip link add up0 type veth peer name up1; ip link set up1 up; ip addr add 192.0.2.2/24 dev up0; ip link set up0 up
				ip route add default via 192.0.2.1
				mount -t tmpfs tmpfs /dev/net; mknod -m 666 /dev/net/tun c 10 200
				exec "$@"`, "sh", path, "sh", "-c", "ip -4 -br addr show scope global; ip route show default; "+byLink)
			host.Env = append(os.Environ(), runnerMode+"="+string(way))
			out, err := host.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "default via ") || strings.Contains(string(out), "note:") {
				t.Errorf("%v\n%s", err, out)
			}
			checkByLink(t, out, err)
		})
	}
}

func TestReplaceResolvers(t *testing.T) {
	for text, want := range map[string]string{
		"nameserver 127.0.0.53\nsearch a\n":                 "nameserver 10.0.2.3\nsearch a\n",
		"nameserver 127.0.0.1\nnameserver ::1\noptions x\n": "nameserver 10.0.2.3\noptions x\n",
		"nameserver 127.0.0.1\nnameserver 192.0.2.1\n":      "",
		"nameserver 192.0.2.1\n":                            "",
		"":                                                  "",
	} {
		got, local := replaceResolvers(text, "10.0.2.3")
		if local != (want != "") || local && got != want {
			t.Errorf("%q: %q, %v", text, got, local)
		}
	}
}

// What keeps both programs from making a network is a device, which is named.
func TestToldOfTheDevice(t *testing.T) {
	if said := told([]byte("Failed to open tun socket\n")); !strings.Contains(said, tunDevice) {
		t.Errorf("%q does not name %s", said, tunDevice)
	}
	if said := told([]byte("no such option\n")); strings.Contains(said, tunDevice) {
		t.Errorf("%q is not of the device", said)
	}
}
