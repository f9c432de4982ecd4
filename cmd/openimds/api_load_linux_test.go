package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program is the real program in a process of its own, under a shell's limits.
type program struct {
	t         *testing.T
	dir       string
	cmd       *exec.Cmd
	imds, api string
	url       string
	key       string // an access key's id: it is no secret
}

// startProgram starts "openimds serve" behind shell commands that set limits.
func startProgram(t *testing.T, limits string, flags ...string) *program {
	t.Helper()
	p := &program{t: t, dir: t.TempDir()}
	must(t, os.Chmod(p.dir, 0o700))
	self, err := os.Executable()
	must(t, err)
	name := filepath.Join(p.dir, "openimds")
	must(t, os.Symlink(self, name)) // the name makes the test binary the program
	ready := filepath.Join(p.dir, "ready")
	args := append([]string{"-c", limits + `exec "$0" serve "$@"`, name,
		"--data-dir", filepath.Join(p.dir, "data"), "--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--ready-file", ready}, flags...)
	p.cmd = exec.Command("sh", args...)
	log, err := os.Create(filepath.Join(p.dir, "log"))
	must(t, err)
	defer func() { _ = log.Close() }()
	p.cmd.Stderr = log
	must(t, p.cmd.Start())
	ended, gone := make(chan error, 1), make(chan struct{})
	go func() { ended <- p.cmd.Wait(); close(gone) }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("the program ended with %v\n%s", err, p.log())
		}
	})
	must(t, eventually(func() bool {
		time.Sleep(5 * time.Millisecond)
		_, err := os.Stat(ready)
		select {
		case <-gone:
			t.Fatalf("the program ended:\n%s", p.log())
		default:
		}
		return err == nil
	}))
	text, err := os.ReadFile(ready)
	must(t, err)
	for line := range strings.Lines(string(text)) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key {
		case "imds":
			p.imds = value
		case "api":
			p.api = value
		case "api_url":
			p.url = value
		}
	}
	p.key = keyOf(t, filepath.Join(p.dir, "data"))
	return p
}

// log is what the program has said by now.
func (p *program) log() string {
	text, err := os.ReadFile(filepath.Join(p.dir, "log"))
	must(p.t, err)
	return string(text)
}

// guestTimes calls as a guest, on new connections, and returns how long each took, sorted.
func (p *program) guestTimes(calls int) []time.Duration {
	p.t.Helper()
	var took []time.Duration
	for range calls {
		began := time.Now()
		answer, err := exchange(p.imds, []byte("GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"))
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
			p.t.Fatalf("a guest gets %.60q, %v\n%s", answer, err, p.log())
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took
}

// operates signs a request on a new connection, and asks for the health.
func (p *program) operates() {
	p.t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SHARED_CREDENTIALS_FILE"} {
		p.t.Setenv(name, "")
	}
	c, err := (&clientConfig{endpoint: p.url, dataDir: filepath.Join(p.dir, "data"), output: "json"}).open(p.t.Context())
	must(p.t, err)
	if err := ask(p.t.Context(), c, targetLightsail+"GetInstances", struct{}{}, nil); err != nil {
		p.t.Fatalf("an operator gets %v\n%s", err, p.log())
	}
	c.CloseIdleConnections()
	if answer, err := exchange(p.api, []byte("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		p.t.Fatalf("the health is %.60q, %v", answer, err)
	}
}

// memory is what the process has in memory, and the most that it ever had, in MiB.
func (p *program) memory() (now, most float64) {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	must(p.t, err)
	value := func(name string) float64 {
		m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(text)
		kB, err := strconv.ParseFloat(string(m[1]), 64)
		must(p.t, err)
		return kB / 1024
	}
	return value("VmRSS"), value("VmHWM")
}

func (p *program) descriptors() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	must(p.t, err)
	return len(entries)
}

// open opens connections and sends the same on each; the test closes them at its end.
func (p *program) open(addr string, n int, send []byte) []net.Conn {
	p.t.Helper()
	var conns []net.Conn
	for range n {
		c, err := net.DialTimeout("tcp", addr, patience)
		must(p.t, err)
		_ = c.SetWriteDeadline(time.Now().Add(patience))
		_, _ = c.Write(send) // it may be closed already
		conns = append(conns, c)
	}
	p.t.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})
	return conns
}

// named is the head of a request that names a key, as everybody can who has seen one, and is not signed
// by it; part of its body may follow.
func (p *program) named(size int) []byte { return []byte(namedRequest(p.key, size)) }

// TestFewDescriptors: with 256 descriptors neither side takes those of the other.
func TestFewDescriptors(t *testing.T) {
	p := startProgram(t, "ulimit -n 256; ")
	asked := []byte("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	p.open(p.api, 300, asked)
	p.guestTimes(100)
	p.operates()
	p.open(p.api, 300, nil)
	p.open(p.api, 300, []byte("GET /hea"))
	p.guestTimes(100)
	p.operates()
	t.Logf("%d descriptors after 900 connections of the API", p.descriptors())

	// Guests that keep all they can get, on both sides of the request's end.
	for _, sent := range []string{"", "GET /latest", "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"} {
		p.open(p.imds, 3000, []byte(sent))
		p.operates()
	}
	time.Sleep(1200 * time.Millisecond) // by then the kernel passes on what has sent nothing
	p.operates()
	if n := p.descriptors(); n > 250 {
		t.Errorf("%d descriptors of 256 are open", n)
	}
	must(t, eventually(func() bool {
		answer, err := exchange(p.imds, []byte("GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"))
		return err == nil && bytes.HasPrefix(answer, []byte("HTTP/1.1 200 "))
	}))
}

// TestStalledBodies: a thousand bodies that are announced and do not come, or stay unfinished, take
// memory of neither side; the operator's own requests are answered all the while.
func TestStalledBodies(t *testing.T) {
	p := startProgram(t, "", "--guest-rate", "0")
	before, _ := p.memory()
	quiet := p.guestTimes(1000)
	for _, c := range []struct {
		what string
		send []byte
	}{
		{"a named key, no byte of a 1 MiB body", p.named(1 << 20)},
		{"a named key, a 1 MiB body without its end", append(p.named(1<<20), make([]byte, 1<<20-1)...)},
		{"no key, a 1 MiB body without its end", append([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: Lightsail_20161128.GetInstance\r\nContent-Length: 1048576\r\n\r\n"), make([]byte, 1<<20-1)...)},
		{"a named key, 15 KB without their end", append(p.named(15_000), make([]byte, 14_999)...)},
	} {
		sent := make(chan []net.Conn)
		go func() {
			var conns []net.Conn
			for range 1000 {
				d, err := net.DialTimeout("tcp", p.api, patience)
				if err != nil {
					break
				}
				_ = d.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = d.Write(c.send)
				conns = append(conns, d)
			}
			sent <- conns
		}()
		during := p.guestTimes(300)
		p.operates()
		conns := <-sent
		held := p.guestTimes(1000)
		p.operates()
		now, most := p.memory()
		t.Logf("%s: guests' p99 %v before, %v while they are sent, %v while they are held; memory %.0f MiB before, %.0f now, at most %.0f",
			c.what, p99(quiet), p99(during), p99(held), before, now, most)
		if bound := before + 64; !raceEnabled() && most > bound {
			t.Errorf("%s: %.0f MiB, above %.0f", c.what, most, bound)
		}
		for _, d := range conns {
			_ = d.Close()
		}
	}
}

func p99(sorted []time.Duration) time.Duration { return sorted[len(sorted)*99/100] }

// memoryGroup makes a control group with so many bytes, of either version, and returns a shell command
// that enters it.
func memoryGroup(t *testing.T, bytes int) (enter string) {
	t.Helper()
	if os.Geteuid() != 0 || raceEnabled() {
		t.Skip("needs root, and no race detector: it runs without it, too")
	}
	for _, kind := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"},
	} {
		dir := filepath.Join(kind.root, fmt.Sprintf("openimds-test-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() { _ = os.Remove(dir) })
		if err := os.WriteFile(filepath.Join(dir, kind.limit), []byte(strconv.Itoa(bytes)), 0o644); err == nil {
			return "echo $$ > " + filepath.Join(dir, "cgroup.procs") + "; "
		}
		_ = os.Remove(dir)
	}
	t.Skip("no memory controller that this process may use")
	return ""
}

// TestLittleMemory: in 64 MiB, 1,500 bodies of 15 KB; and 1,000 of which 100 KB of 1 MiB have come. Both together would be
// more than that with what the system has of their connections, which counts too.
func TestLittleMemory(t *testing.T) {
	for name, bodies := range map[string]struct{ n, length, sent int }{
		"1,500 bodies":                 {1500, 15_000, 14_999},
		"1,000 bodies that are longer": {1000, 1 << 20, 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProgram(t, memoryGroup(t, 64<<20), "--guest-rate", "0")
			quiet := p.guestTimes(1000)
			p.open(p.api, bodies.n, append(p.named(bodies.length), make([]byte, bodies.sent)...))
			busy := p.guestTimes(1000)
			p.operates()
			now, most := p.memory()
			t.Logf("guests' p99 %v before, %v then; memory %.0f MiB, at most %.0f", p99(quiet), p99(busy), now, most)
		})
	}
}

// TestReplayOverTLS listens on the way between a client and the API: what passes has nothing of the
// request, and when it is sent again nothing comes of it.
func TestReplayOverTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, writeCertificate(cert, key, "127.0.0.1"))
	p := startProgram(t, "", "--api-cert", cert, "--api-key", key)
	if !strings.HasPrefix(p.url, "https://127.0.0.1:") {
		t.Fatalf("the URL is %s", p.url)
	}
	way, sent := tap(t, p.api)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(name, "")
	}
	c, err := (&clientConfig{endpoint: "https://" + way, ca: cert, dataDir: filepath.Join(p.dir, "data"), output: "json"}).open(t.Context())
	must(t, err)
	change := map[string]any{"instanceName": "demo", "httpTokens": "required"}
	must(t, ask(t.Context(), c, targetLightsail+"UpdateInstanceMetadataOptions", change, nil))
	c.CloseIdleConnections()
	captured := sent()
	for _, secret := range []string{p.key, "Lightsail", "Authorization", "httpTokens", "demo", "POST"} {
		if bytes.Contains(captured, []byte(secret)) {
			t.Errorf("%s can be read on the way", secret)
		}
	}
	operations := func() int {
		var answer struct{ Operations []any }
		must(t, ask(t.Context(), c, targetLightsail+"GetOperations", struct{}{}, &answer))
		return len(answer.Operations)
	}
	before := operations()
	for range 20 {
		d, err := net.Dial("tcp", p.api)
		must(t, err)
		_ = d.SetDeadline(time.Now().Add(patience))
		_, _ = d.Write(captured)
		_, _ = io.Copy(io.Discard, d)
		_ = d.Close()
	}
	if after := operations(); after != before {
		t.Errorf("%d operations were made by what was captured", after-before)
	}

	// Whoever forgets the s is told.
	answer, err := exchange(p.api, []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"))
	if err != nil || !bytes.Contains(answer, []byte("write https://")) || !bytes.HasPrefix(answer, []byte("HTTP/1.1 400 ")) {
		t.Errorf("plain HTTP: %q, %v", answer, err)
	}
}

// tap passes connections on to addr and keeps what the clients send.
func tap(t *testing.T, addr string) (listens string, sent func() []byte) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	kept := make(chan []byte, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d, err := net.Dial("tcp", addr)
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, d); _ = c.Close() }()
			go func() {
				var b bytes.Buffer
				_, _ = io.Copy(io.MultiWriter(d, &b), c)
				_ = d.Close()
				kept <- b.Bytes()
			}()
		}
	}()
	return l.Addr().String(), func() []byte { return <-kept }
}

// TestFamilies: 0.0.0.0 is IPv4 only, [::] IPv6 only, on both sides.
func TestFamilies(t *testing.T) {
	if l, err := net.Listen("tcp6", "[::1]:0"); err != nil {
		t.Skip("this machine has no IPv6")
	} else {
		_ = l.Close()
	}
	reaches := func(host, port string) bool {
		c, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), patience)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	for host, want := range map[string][2]bool{"0.0.0.0": {true, false}, "[::]": {false, true}, "": {true, true}} {
		t.Run("host "+host, func(t *testing.T) {
			var p *program
			differs := func() (what string) {
				p = startProgram(t, "", "--imds-listen", host+":0", "--api-listen", host+":0", "--api-insecure")
				for side, addr := range map[string]string{"imds": p.imds, "api": p.api} {
					_, port, err := net.SplitHostPort(addr)
					must(t, err)
					if got := [2]bool{reaches("127.0.0.1", port), reaches("::1", port)}; got != want {
						what += fmt.Sprintf("%s on %q: IPv4 %v, IPv6 %v\n", side, host, got[0], got[1])
					}
				}
				return what
			}
			// The port of one family may be another program's in the other one, but hardly three times.
			for tries := 1; ; tries++ {
				what := differs()
				if what == "" {
					break
				}
				if t.Log(what); tries == 3 {
					t.FailNow()
				}
			}
			if n := strings.Count(p.log(), "open to other machines without TLS"); n != 1 {
				t.Errorf("%d warnings", n)
			}
		})
	}
}

// TestUnread: what the head shows to be wrong is answered at once, though its body never comes, and no
// "100 Continue" asks for it.
func TestUnread(t *testing.T) {
	p := startProgram(t, "")
	head := string(p.named(1 << 20))
	hour := regexp.MustCompile(`X-Amz-Date: (\w{11})`).FindStringSubmatch(head)[1]
	for name, c := range map[string]struct{ from, to, want string }{
		"an unknown key":        {p.key, "AKIAABCDEFGHIJKLMNOP", "UnrecognizedClientException"},
		"no signature":          {"Authorization:", "X-Other:", "MissingAuthenticationTokenException"},
		"another region":        {"/us-east-1/", "/eu-west-1/", "InvalidSignatureException"},
		"another service":       {"/lightsail/", "/ecs/", "InvalidSignatureException"},
		"EC2's form":            {"/lightsail/", "/ec2/", "<Response><Errors><Error><Code>"},
		"an old date":           {hour, time.Now().UTC().Add(-48 * time.Hour).Format("20060102T15"), "InvalidSignatureException"},
		"the target not signed": {";x-amz-target", "", "InvalidSignatureException"},
		"too long":              {"Content-Length: 1048576", "Content-Length: 1048577", "RequestEntityTooLargeException"},
		"an unknown operation":  {"GetInstance\r", "GetToaster\r", "UnknownOperationException"},
		"a hash that is none":   {"X-Amz-Date:", "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD\r\nX-Amz-Date:", "InvalidSignatureException"},
	} {
		for _, expects := range []string{"", "Expect: 100-continue\r\n"} {
			request := strings.Replace(head, c.from, c.to, 1)
			if name == "a hash that is none" {
				request = strings.Replace(request, "host;", "host;x-amz-content-sha256;", 1)
			}
			if request == head {
				t.Fatalf("%s: the request is the same", name)
			}
			request = strings.Replace(request, "Host: x\r\n", "Host: x\r\n"+expects, 1)
			answer, err := exchange(p.api, []byte(request))
			if err != nil || !bytes.Contains(answer, []byte(c.want)) || bytes.Contains(answer, []byte("100 Continue")) {
				t.Errorf("%s: %q, %v", name, answer, err)
			}
			if !bytes.Contains(answer, []byte("Connection: close")) || bytes.Count(answer, []byte("HTTP/1.1 ")) != 1 {
				t.Errorf("%s: %q", name, answer)
			}
		}
	}
	// A key that is known is asked for the body, and gets its refusal when that is there.
	d, err := net.Dial("tcp", p.api)
	must(t, err)
	defer func() { _ = d.Close() }()
	_ = d.SetDeadline(time.Now().Add(patience))
	_, err = io.WriteString(d, strings.Replace(string(p.named(2)), "Host: x\r\n", "Host: x\r\nExpect: 100-continue\r\n", 1))
	must(t, err)
	answers := bufio.NewReader(d)
	resp, err := http.ReadResponse(answers, nil)
	if err != nil || resp.StatusCode != http.StatusContinue {
		t.Fatalf("%v %v", resp, err)
	}
	_, err = io.WriteString(d, "{}")
	must(t, err)
	resp, err = http.ReadResponse(answers, nil)
	if err != nil || resp.Header.Get("X-Amzn-Errortype") != "InvalidSignatureException" {
		t.Fatalf("%v %v", resp, err)
	}
}

// TestRenewedCertificate renews the certificate under the running program.
func TestRenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, writeCertificate(cert, key, "127.0.0.1"))
	p := startProgram(t, "", "--api-cert", cert, "--api-key", key)
	old, err := os.ReadFile(cert)
	must(t, err)
	must(t, writeCertificate(cert, key, "127.0.0.1"))
	asks := func() error {
		for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_SHARED_CREDENTIALS_FILE"} {
			t.Setenv(name, "")
		}
		c, err := (&clientConfig{endpoint: p.url, ca: cert, dataDir: filepath.Join(p.dir, "data"), output: "json"}).open(t.Context())
		must(t, err)
		defer c.CloseIdleConnections()
		return ask(context.Background(), c, targetLightsail+"GetInstances", struct{}{}, nil)
	}
	must(t, eventually(func() bool { time.Sleep(20 * time.Millisecond); return asks() == nil }))
	must(t, os.WriteFile(cert, old, 0o600))
	if err := asks(); err == nil || !strings.Contains(advised(newRoot(), err).Error(), "--api-ca or AWS_CA_BUNDLE") || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the old certificate is still shown: %v", err)
	}
}
