package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds/client"
)

// soakEnv sets for how long TestSoak goes on, as "1h"; without it, for some seconds in which nothing is judged.
const soakEnv = "OPENIMDS_SOAK"

// judgedFrom is how long a soak has to be for its figures to mean something.
const judgedFrom = time.Minute

// TestSoak keeps the real program busy with guests, instances that come, change and go, and whatever the
// API refuses. Once it has warmed up, its memory, descriptors and goroutines stay what they are: of the
// time, the second quarter is held against the last, by their medians.
func TestSoak(t *testing.T) {
	soak := 5 * time.Second
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		if soak, err = time.ParseDuration(text); err != nil {
			t.Fatal(soakEnv, ": ", err)
		}
	}
	runtime.LockOSThread() // Pdeathsig is of the thread
	defer runtime.UnlockOSThread()
	s := startSoaked(t)
	if soak >= judgedFrom {
		s.fill()
	}
	ctx, stop := context.WithTimeout(t.Context(), soak)
	defer stop()
	var busy sync.WaitGroup
	for worker := range 2 {
		busy.Go(func() { s.live(ctx, fmt.Sprint("soak-", worker)) })
		busy.Go(func() { s.beRefused(ctx) })
	}
	for range 4 {
		busy.Go(func() { s.call(ctx) })
	}
	var samples []sample
	for begun, every := time.Now(), max(soak/120, 500*time.Millisecond); ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-time.After(every):
			now := s.sample()
			if samples = append(samples, now); len(samples)%10 == 0 {
				t.Logf("%8s  %s  %d requests, %d changes, %d refusals", time.Since(begun).Round(time.Second), now, s.requests.Load(), s.changes.Load(), s.refusals.Load())
			}
		}
	}
	busy.Wait()
	select {
	case err := <-s.failed:
		t.Fatal(err)
	default:
	}
	if s.requests.Load() == 0 || s.changes.Load() == 0 || s.refusals.Load() == 0 {
		t.Errorf("%d requests, %d changes, %d refusals: it was not busy", s.requests.Load(), s.changes.Load(), s.refusals.Load())
	}
	if soak < judgedFrom {
		return
	}
	quarter := len(samples) / 4
	early, late := median(samples[quarter:2*quarter]), median(samples[3*quarter:])
	t.Logf("medians   %s early\n          %s late", early, late)
	// What a collector leaves for a moment, and how many connections are open at one, is not drift.
	if late.memory > early.memory*11/10+8<<20 {
		t.Errorf("memory drifts from %d to %d MB", early.memory>>20, late.memory>>20)
	}
	if late.descriptors > early.descriptors+10 {
		t.Errorf("descriptors drift from %d to %d", early.descriptors, late.descriptors)
	}
	if late.goroutines > early.goroutines+10 {
		t.Errorf("goroutines drift from %d to %d", early.goroutines, late.goroutines)
	}
}

// sample is what the program has at one moment. Its memory is what is its own: the store's file is mapped,
// and grows as it should.
type sample struct{ memory, descriptors, goroutines int }

func (s sample) String() string {
	return fmt.Sprintf("%4d MB  %3d descriptors  %3d goroutines", s.memory>>20, s.descriptors, s.goroutines)
}

func median(samples []sample) sample {
	of := func(member func(sample) int) int {
		all := make([]int, 0, len(samples))
		for _, s := range samples {
			all = append(all, member(s))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return sample{
		of(func(s sample) int { return s.memory }), of(func(s sample) int { return s.descriptors }),
		of(func(s sample) int { return s.goroutines }),
	}
}

// soaked is the program and what is done to it.
type soaked struct {
	t                           *testing.T
	pid                         int
	imds, api                   string
	client                      *client.Client
	requests, changes, refusals atomic.Int64
	failed                      chan error
}

func startSoaked(t *testing.T) *soaked {
	program, err := exec.LookPath("openimds")
	must(t, err)
	dir := t.TempDir()
	data, ready := filepath.Join(dir, "data"), filepath.Join(dir, "ready")
	cmd := exec.Command(program, "serve", "--data-dir", data, "--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--transition-time", "0",
		"--ready-file", ready, "--api-anonymous-metrics", "--log-level", "error")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, cmd.Process.Signal(syscall.SIGTERM))
		if err := cmd.Wait(); err != nil || said.Len() > 0 {
			t.Errorf("it ended with %v and said %q", err, said.String())
		}
	})
	s := &soaked{t: t, pid: cmd.Process.Pid, failed: make(chan error, 1)}
	must(t, eventually(func() bool {
		text, err := os.ReadFile(ready)
		for line := range strings.Lines(string(text)) {
			switch key, value, _ := strings.Cut(strings.TrimSpace(line), "="); key {
			case "imds":
				s.imds = value
			case "api":
				s.api = value
			}
		}
		time.Sleep(time.Millisecond)
		return err == nil
	}))
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ENDPOINT_URL_LIGHTSAIL"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(data, credentialsFile))
	access := clientConfig{endpoint: "http://" + s.api, output: "json"}
	s.client, err = access.open(t.Context())
	must(t, err)
	return s
}

func (s *soaked) fail(err error) {
	select {
	case s.failed <- err:
	default:
	}
}

// change carries out an operation, which must succeed.
func (s *soaked) change(target, body string) {
	if err := ask(s.t.Context(), s.client, target, json.RawMessage(body), nil); err != nil {
		s.fail(fmt.Errorf("%s %.100s: %w", target, body, err))
	}
	s.changes.Add(1)
}

// recordingOf is a change that gives an instance a recording of that many bytes.
func recordingOf(name string, size int) string {
	body := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), size))
	return `{"instanceName":"` + name + `","recording":{"source":"http://there","recordedAt":1767323045,"items":[` +
		`{"path":"","listing":true,"contentType":"text/plain","body":"bGF0ZXN0"},{"path":"latest","listing":true,"contentType":"text/plain","body":"eA=="},` +
		`{"path":"latest/x","contentType":"text/plain","body":"` + body + `"}]}}`
}

// fill makes as much history as the program keeps in memory, which it would otherwise gather by and by.
func (s *soaked) fill() {
	s.change(targetLightsail+"CreateInstances", `{"instanceNames":["filler"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0"}`)
	for i := range 400 {
		s.change(targetOpenIMDS+"SetInstance", recordingOf("filler", 200<<10+i))
	}
	s.change(targetLightsail+"DeleteInstance", `{"instanceName":"filler"}`)
}

// live creates, changes and deletes an instance again and again.
func (s *soaked) live(ctx context.Context, name string) {
	named := `{"instanceName":"` + name + `"}`
	for round := 0; ctx.Err() == nil; round++ {
		for _, step := range []string{
			`CreateInstances {"instanceNames":["` + name + `"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0","userData":"` + strings.Repeat("u", 1000) + `"}`,
			`UpdateInstanceMetadataOptions {"instanceName":"` + name + `","httpTokens":"required","httpPutResponseHopLimit":` + strconv.Itoa(1+round%64) + `}`,
			`UpdateInstanceMetadataOptions {"instanceName":"demo","httpPutResponseHopLimit":` + strconv.Itoa(1+round%64) + `}`,
			`TagResource {"resourceName":"` + name + `","tags":[{"key":"round","value":"` + strconv.Itoa(round) + `"}]}`,
			`AllocateStaticIp {"staticIpName":"ip-` + name + `"}`, `AttachStaticIp {"staticIpName":"ip-` + name + `","instanceName":"` + name + `"}`,
			`StopInstance ` + named, `StartInstance ` + named, `RebootInstance ` + named, `DetachStaticIp {"staticIpName":"ip-` + name + `"}`,
			`ReleaseStaticIp {"staticIpName":"ip-` + name + `"}`,
		} {
			operation, body, _ := strings.Cut(step, " ")
			s.change(targetLightsail+operation, body)
		}
		s.change(targetOpenIMDS+"SetInstance", `{"instanceName":"`+name+`","overlay":{"meta-data/ami-id":"ami-`+strconv.Itoa(round)+`"},"roleName":"app"}`)
		s.change(targetOpenIMDS+"UpdateInstanceEvents", `{"instanceName":"demo","rebalance":{"noticeTime":4102488000}}`)
		if round%20 == 0 {
			s.change(targetOpenIMDS+"SetInstance", `{"instanceName":"`+name+`","overlayRemove":["meta-data/ami-id"],"roleName":""}`)
			s.change(targetOpenIMDS+"SetInstance", recordingOf(name, 100<<10))
		}
		s.change(targetLightsail+"DeleteInstance", named)
	}
}

// beRefused asks the API for what it refuses, in every way: the caller, the words, the protocol.
func (s *soaked) beRefused(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		var failed *client.Error
		for _, words := range []string{`GetInstance {"instanceName":"absent"}`, `DeleteInstance {"instanceName":7}`, `GetToaster {}`} {
			operation, body, _ := strings.Cut(words, " ")
			if err := ask(s.t.Context(), s.client, targetLightsail+operation, json.RawMessage(body), nil); !errors.As(err, &failed) {
				s.fail(fmt.Errorf("%s: %w", words, err))
			}
			s.refusals.Add(1)
		}
		for _, raw := range []string{
			"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: Lightsail_20161128.GetInstances\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\n\r\n{}",
			"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nshort", "\x16\x03\x01", "",
		} {
			s.send(s.api, raw)
			s.refusals.Add(1)
		}
	}
}

// call is a guest of the default instance: of both versions, refused ones, broken ones, ones that leave.
func (s *soaked) call(ctx context.Context) {
	const put = "PUT /latest/api/token HTTP/1.1\r\nHost: x\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n"
	for n := 0; ctx.Err() == nil; n++ {
		answer := s.send(s.imds, put)
		token := answer[max(0, len(answer)-56):]
		get := "GET /latest/meta-data/ HTTP/1.1\r\nHost: x\r\nUser-Agent: soak/" + strconv.Itoa(n%1000) + "\r\n"
		for _, raw := range []string{
			get + "X-aws-ec2-metadata-token: " + token + "\r\n\r\n", get + "\r\n", get + "X-aws-ec2-metadata-token: bad\r\n\r\n",
			"GET /latest/dynamic/instance-identity/rsa2048 HTTP/1.1\r\nHost: x\r\n\r\n", "no request\r\n\r\n", "GET / HT", "",
		} {
			s.send(s.imds, raw)
			s.requests.Add(1)
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond): // below the instance's rate
		}
	}
}

// send sends bytes and returns what comes back; of half a request nothing is waited for.
func (s *soaked) send(to, raw string) string {
	c, err := net.DialTimeout("tcp", to, patience)
	if err != nil {
		s.fail(err)
		return ""
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, raw)
	if !strings.HasSuffix(raw, "\r\n\r\n") {
		return ""
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	if to == s.api { // which keeps its connections
		buf := make([]byte, 1<<10)
		n, _ := c.Read(buf)
		return string(buf[:n])
	}
	answer, _ := io.ReadAll(c)
	return string(answer)
}

var (
	ownMemory  = regexp.MustCompile(`RssAnon:\s+(\d+) kB`)
	goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)$`)
)

// sample asks the system, and the program's metrics.
func (s *soaked) sample() sample {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	must(s.t, err)
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.pid))
	must(s.t, err)
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.api+"/metrics", nil)
	must(s.t, err)
	answer, err := http.DefaultClient.Do(r)
	must(s.t, err)
	metrics, err := io.ReadAll(answer.Body)
	must(s.t, errors.Join(err, answer.Body.Close()))
	number := func(text []byte, pattern *regexp.Regexp) int {
		found := pattern.FindSubmatch(text)
		if found == nil {
			s.t.Fatalf("no %s in %.300s", pattern, text)
		}
		n, _ := strconv.Atoi(string(found[1]))
		return n
	}
	return sample{number(status, ownMemory) << 10, len(open), number(metrics, goroutines)}
}
