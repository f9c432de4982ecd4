package clients

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
)

// TestMain builds the program under test and puts it first in PATH, where the tests find it as its
// users do.
func TestMain(m *testing.M) {
	if os.Getenv(sdkMode) != "" {
		os.Exit(sdkProgram())
	}
	os.Exit(withProgram(m.Run))
}

func withProgram(run func() int) int {
	dir, err := os.MkdirTemp("", "openimds-clients-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-buildvcs=false", "-o", dir, "./cmd/openimds")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build openimds: %v\n%s", err, out)
		return 1
	}
	for name, value := range map[string]string{
		"PATH": dir + string(os.PathListSeparator) + os.Getenv("PATH"),
		// SDKs ask once, for a second: too little on a busy machine.
		"AWS_METADATA_SERVICE_TIMEOUT": "60", "AWS_METADATA_SERVICE_NUM_ATTEMPTS": "5",
	} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return run()
}

// How long a program may take that needs milliseconds, on a machine that is busy.
const patience = 3 * time.Minute

// server is "openimds serve", running.
type server struct {
	IMDS    string // host:port of the guest side
	API     string // host:port of the control API
	DataDir string
	// Instance is what the store held of the instance that is served, when the server started.
	Instance *openimds.Instance
	// Endpoint is where clients look for the guest side; empty: at IMDS, with a final slash.
	Endpoint string
	// V1Allowed lets clients fall back to version 1.
	V1Allowed bool
}

// serve starts openimds with a store that holds one instance, after change (which may be nil) has
// had its way with it, and stops it when the test ends. It fails the test unless openimds stops as
// it promises to.
func serve(t testing.TB, change func(*openimds.Instance), flags ...string) *server {
	t.Helper()
	s := &server{DataDir: filepath.Join(t.TempDir(), "data")}
	s.Instance = openimds.NewInstance(openimds.Launch{Name: "demo", Region: "us-east-1"}, time.Now().Add(-time.Hour))
	if change != nil {
		change(s.Instance)
	}
	fillStore(t, s.DataDir, s.Instance)
	s.start(t, flags...)
	return s
}

// fillStore makes a store with one instance.
func fillStore(t testing.TB, dataDir string, in *openimds.Instance) {
	t.Helper()
	if err := os.Mkdir(dataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	kept, err := bolt.Open(filepath.Join(dataDir, "openimds.db"))
	if err != nil {
		t.Fatal(err)
	}
	value, err := records.EncodeInstance(in)
	if err != nil {
		t.Fatal(err)
	}
	record := store.Change{Key: records.InstancePrefix + in.Name, Value: value, If: store.IfAbsent}
	if _, err := kept.Commit(context.Background(), record); err != nil {
		t.Fatal(err)
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
}

// start runs the program on the server's data directory until the test ends.
func (s *server) start(t testing.TB, flags ...string) {
	t.Helper()
	ready := filepath.Join(t.TempDir(), "ready")
	cmd := exec.Command("openimds", append([]string{
		"serve", "--data-dir", s.DataDir, "--ready-file", ready,
		"--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--log-level", "debug",
	}, flags...)...)
	cmd.Env = append(without(os.Environ(), "OPENIMDS_"), "OPENIMDS_STOP_TIMEOUT="+patience.String(), "OPENIMDS_API_TIMEOUT=50s")
	var log bytes.Buffer // read only after Wait
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() error {
		_ = cmd.Process.Signal(os.Interrupt) // an error means that it has ended already
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-ended
			return fmt.Errorf("it did not stop within %v of Ctrl-C", patience)
		}
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("openimds: %v", err)
		}
		if t.Failed() {
			t.Logf("openimds said:\n%s", log.Bytes())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(ready)
		if err == nil {
			s.readReady(t, string(text))
			return
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("openimds ended before it was ready: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("openimds is not ready after %v", patience)
		}
	}
}

// readReady takes the addresses from the ready file.
func (s *server) readReady(t testing.TB, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		switch key, addr, _ := strings.Cut(strings.TrimSpace(line), "="); key {
		case "imds":
			s.IMDS = addr
		case "api":
			s.API = addr
		}
	}
	if s.IMDS == "" || s.API == "" {
		t.Fatalf("the ready file does not have both addresses: %q", text)
	}
}

// env is an environment in which AWS's clients know of nothing but this server.
func (s *server) env() []string {
	return append(without(os.Environ(), "AWS_", "BOTO_", "OPENIMDS_"),
		"AWS_EC2_METADATA_SERVICE_ENDPOINT="+cmp.Or(s.Endpoint, "http://"+s.IMDS+"/"),
		"AWS_EC2_METADATA_V1_DISABLED="+strconv.FormatBool(!s.V1Allowed),
		"AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull,
		"BOTO_CONFIG="+os.DevNull,
	)
}

// without drops the variables that begin with one of the prefixes, and those that name a proxy.
func without(env []string, prefixes ...string) []string {
	kept := make([]string, 0, len(env)+8)
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		drop := strings.HasSuffix(strings.ToLower(name), "_proxy")
		for _, p := range prefixes {
			drop = drop || strings.HasPrefix(name, p)
		}
		if !drop {
			kept = append(kept, v)
		}
	}
	return kept
}

// dial connects to the guest side as software without any library does.
func (s *server) dial(t testing.TB) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.IMDS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// get reads a path below the root, with a token unless that is empty.
func (s *server) get(t testing.TB, path, token string) (status int, body string) {
	t.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("X-aws-ec2-metadata-token", token)
	}
	return s.request(t, http.MethodGet, path, header)
}

// token asks for a session.
func (s *server) token(t testing.TB) string {
	t.Helper()
	status, token := s.request(t, http.MethodPut, "/latest/api/token",
		http.Header{"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": {"21600"}})
	if status != http.StatusOK {
		t.Fatalf("no token: status %d", status)
	}
	return token
}

func (s *server) request(t testing.TB, method, path string, header http.Header) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.IMDS+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, text.String()
}

// run runs a client in the server's environment and returns what it prints.
func (s *server) run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := s.try(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// try runs a client that may fail; what it says on standard error follows its output then.
func (s *server) try(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	ctx, done := context.WithTimeout(t.Context(), 2*patience)
	defer done()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = s.env()
	cmd.WaitDelay = time.Second
	var out, failure bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failure
	if err := cmd.Run(); err != nil {
		return out.String() + failure.String(), err
	}
	return out.String(), nil
}

// command runs one of the server's own commands, as its operator.
func (s *server) command(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openimds", append(args, "--endpoint", "http://"+s.API, "--data-dir", s.DataDir)...)
	cmd.Env = without(os.Environ(), "AWS_", "OPENIMDS_")
	var notes strings.Builder // not of what scripts read
	cmd.Stderr = &notes
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openimds %s: %v\n%s%s", strings.Join(args, " "), err, out, &notes)
	}
	return string(out)
}

// need skips the test if the machine lacks a program.
func need(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
}
