package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// server is an openimds that runs.
type server struct {
	cmd   *exec.Cmd
	log   bytes.Buffer // what it said; read only after its end
	ended chan error
	began time.Time
	api   string
	keys  aws.Credentials
}

// startTime is how long the server may take until it is ready, and until it has ended.
const startTime = 5 * time.Minute

// start starts openimds on a data directory and returns when it answers.
func (b *bench) start(ctx context.Context, dataDir string) (*server, error) {
	ready := filepath.Join(b.dir, "ready")
	s := &server{ended: make(chan error, 1)}
	s.cmd = exec.Command(b.openimds, "serve", "--data-dir", dataDir, "--ready-file", ready, "--log-level", "warn",
		"--imds-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--default-instance", instance(0))
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	_ = os.Remove(ready)
	s.began = time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.ended <- s.cmd.Wait() }()
	for deadline := s.began.Add(startTime); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(ready)
		if err == nil {
			s.api, _, _ = strings.Cut(string(text)[bytes.Index(text, []byte("api="))+len("api="):], "\n")
			break
		}
		select {
		case err := <-s.ended:
			return nil, fmt.Errorf("openimds ended before it was ready: %v\n%s", err, s.log.Bytes())
		case <-ctx.Done():
			s.stop()
			return nil, ctx.Err()
		default:
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("openimds is not ready after %v", startTime)
		}
	}
	credentials, err := os.ReadFile(filepath.Join(dataDir, "credentials"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(credentials)) {
		switch key, value, _ := strings.Cut(line, "="); strings.TrimSpace(key) {
		case "aws_access_key_id":
			s.keys.AccessKeyID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			s.keys.SecretAccessKey = strings.TrimSpace(value)
		}
	}
	return s, nil
}

// stop ends the server and returns how long that took. What it had to say goes to our own log.
func (s *server) stop() time.Duration {
	began := time.Now()
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended already
	select {
	case <-s.ended:
	case <-time.After(startTime):
		_ = s.cmd.Process.Kill()
		<-s.ended
	}
	for line := range bytes.Lines(s.log.Bytes()) {
		if bytes.Contains(line, []byte("level=")) {
			_, _ = os.Stderr.Write(line)
		}
	}
	return time.Since(began)
}

// call carries out an operation of openimds' own on the control API.
func (s *server) call(ctx context.Context, operation string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.api+"/", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "OpenIMDS_20261122."+operation)
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, s.keys, req, hex.EncodeToString(sum[:]), "lightsail", "us-east-1", time.Now()); err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", operation, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// place is where an instance is attached, as the control API has it.
type place struct {
	Name      string `json:"instanceName"`
	Interface string `json:"interface,omitempty"`
	Netns     string `json:"networkNamespace,omitempty"`
}

func (s *server) attach(ctx context.Context, p place) error {
	return s.call(ctx, "AttachInstance", p, nil)
}

func (s *server) detach(ctx context.Context, name string) error {
	return s.call(ctx, "DetachInstance", place{Name: name}, nil)
}

// attached waits until all attachments are in force, and returns how many there are.
func (s *server) attached(ctx context.Context) (int, error) {
	for deadline := time.Now().Add(startTime); ; time.Sleep(50 * time.Millisecond) {
		var answer struct {
			Attachments []struct{ InstanceName, State, Reason string }
		}
		if err := s.call(ctx, "GetAttachments", struct{}{}, &answer); err != nil {
			return 0, err
		}
		missing := ""
		for _, a := range answer.Attachments {
			if a.State != "attached" {
				missing = a.InstanceName + " is " + a.State + " " + a.Reason
			}
		}
		if missing == "" {
			return len(answer.Attachments), nil
		}
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("not all are attached after %v: %s", startTime, missing)
		}
	}
}

// figure reads a number of kilobytes of /proc/PID/status as bytes.
func (s *server) figure(name string) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			var n int64
			_, err := fmt.Sscan(rest, &n)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("/proc has no %s", name)
}

// cpu is the time that the server has used so far (proc(5): fields 14 and 15, hundredths of a second).
func (s *server) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var user, system int64
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}
