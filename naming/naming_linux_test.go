package naming_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/naming"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
)

// TestMain makes this test binary a guest too: it asks once and waits for its input's end, its connection open.
func TestMain(m *testing.M) {
	addr := os.Getenv("NAMING_CALLS")
	if addr == "" {
		os.Exit(m.Run())
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		os.Exit(1)
	}
	_, _ = c.Write([]byte("GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: test\r\n\r\n"))
	answer := make([]byte, 4096)
	_, _ = c.Read(answer)
	_, _ = os.Stdout.WriteString("answered\n")
	_, _ = os.Stdin.Read(answer)
}

// service is a guest side whose callers are named.
type service struct {
	meter *usage.Meter
	namer *naming.Namer
	id    string
	addr  string
}

func newService(t *testing.T, at func(l *net.TCPListener) naming.Place) service {
	t.Helper()
	store := mem.New()
	meter := usage.NewMeter(usage.Config{Store: store, History: history.New(history.Config{Store: store})})
	server := imds.NewServer(imds.Config{Usage: meter})
	guest := server.NewGuest()
	in := openimds.Instance{Name: "web-1", ID: "i-1", State: openimds.StateRunning, TokenKey: openimds.NewTokenKey(), Options: openimds.DefaultOptions()}
	if err := guest.Set(&in); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	place := at(l.(*net.TCPListener))
	deferred, err := imds.Defer(l.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	namer := naming.NewPatient()
	watched, stop := namer.Watch(deferred, place)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(watched, guest)
	}()
	t.Cleanup(func() {
		stop()
		_ = watched.Close()
		<-done
		namer.Close()
	})
	return service{meter, namer, in.ID, deferred.Addr().String()}
}

// call has another process call, which ends with the test.
func call(t *testing.T, addr string, args ...string) (end func()) {
	t.Helper()
	exe, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "NAMING_CALLS="+addr)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { _ = in.Close(); _ = cmd.Wait() }
	t.Cleanup(end)
	line := make([]byte, 100)
	if n, _ := out.Read(line); !strings.HasPrefix(string(line[:n]), "answered") {
		t.Fatalf("the client says %q", line[:n])
	}
	return end
}

// until waits until the callers are as they should be.
func (s service) until(t *testing.T, holds func(all []openimds.Caller) bool) {
	t.Helper()
	for deadline := time.Now().Add(naming.Patience); ; time.Sleep(10 * time.Millisecond) {
		all, err := s.meter.Callers(context.Background(), s.id, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		if holds(all) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("in vain, the callers are %+v", all)
		}
	}
}

// named waits until a caller has a process.
func (s service) named(t *testing.T) (p openimds.CallerProcess) {
	t.Helper()
	s.until(t, func(all []openimds.Caller) bool {
		for _, c := range all {
			if c.Process != nil {
				p = *c.Process
				return true
			}
		}
		return false
	})
	return p
}

// What ends at once is named also on the loopback of a laptop, where the kernel tells of it.
func TestNamedAtOnce(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	s := newService(t, func(*net.TCPListener) naming.Place { return naming.Place{} })
	if s.namer.Follow(); !s.namer.Follows() {
		t.Skip("the kernel does not tell")
	}
	host, port, _ := net.SplitHostPort(s.addr)
	const calls = 50
	for range calls {
		script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/%s; printf "GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: at-once\r\n\r\n" >&3; read -r l <&3`, host, port)
		if out, err := exec.Command(bash, "-c", script, "at-once").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	s.until(t, func(all []openimds.Caller) bool {
		named := int64(0)
		for _, c := range all {
			if c.Process != nil && len(c.Process.Arguments) == 4 && c.Process.Executable != "" {
				named += c.Counts[openimds.MetricNoToken]
			}
		}
		return named == calls
	})
}

// The first caller of a guest is told of, too: nothing listens for it before the kernel tells who calls.
func TestFirstCaller(t *testing.T) {
	namer := naming.NewPatient()
	defer namer.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	namer.Follow()
	_, stop := namer.Watch(l, naming.Place{Link: func() string { return "" }})
	defer stop()
	if tells := namer.Tells(); namer.Follows() && !tells {
		t.Error("a guest was listened for before the kernel told who calls")
	}
}

func TestNamed(t *testing.T) {
	exe, _ := filepath.EvalSymlinks("/proc/self/exe")
	for name, at := range map[string]func(l *net.TCPListener) naming.Place{
		"in this namespace": func(*net.TCPListener) naming.Place { return naming.Place{} },
		"in the listener's": func(l *net.TCPListener) naming.Place {
			netns, err := naming.NamespaceOf(l)
			if err != nil {
				t.Skip(err)
			}
			return naming.Place{Netns: netns, Link: func() string { return "" }}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, at)
			call(t, s.addr, "one", "X-aws-ec2-metadata-token: AQAEAsecretsecretsecretsecretsecretsecretsecretsecretsecr==")
			p := s.named(t)
			if p.Executable != exe || len(p.Arguments) < 2 || p.Arguments[1] != "one" || p.User == "" {
				t.Errorf("%+v", p)
			}
			if strings.Contains(strings.Join(p.Arguments, " "), "secret") {
				t.Errorf("a token stands in %q", p.Arguments)
			}
		})
	}
}

// Who has nobody behind it is nobody: a caller that has closed before it was looked for counts, and is not named.
func TestNobodyIsGuessed(t *testing.T) {
	s := newService(t, func(*net.TCPListener) naming.Place {
		return naming.Place{Link: func() string { return "lo" }} // which leads to nobody
	})
	call(t, s.addr)
	s.until(t, func(all []openimds.Caller) bool { // counted as it is answered
		if len(all) == 1 && all[0].Process != nil {
			t.Errorf("%+v", all[0].Process)
		}
		return len(all) == 1
	})
}
