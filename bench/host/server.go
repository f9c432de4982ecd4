package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

// server is an openimds that runs.
type server struct {
	cmd   *exec.Cmd
	log   bytes.Buffer // what it said; read only after its end
	ended chan error
	began time.Time
	api   *client.Client
}

// startTime is how long the server may take until it is ready, and until it has ended.
const startTime = 5 * time.Minute

// start starts openimds on a data directory and returns when it answers.
func (b *bench) start(ctx context.Context, dataDir string) (*server, error) {
	ready, at := filepath.Join(b.dir, "ready"), ""
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
			at, _, _ = strings.Cut(string(text)[bytes.Index(text, []byte("api="))+len("api="):], "\n")
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
	var keys aws.Credentials
	for line := range strings.Lines(string(credentials)) {
		switch key, value, _ := strings.Cut(line, "="); strings.TrimSpace(key) {
		case "aws_access_key_id":
			keys.AccessKeyID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			keys.SecretAccessKey = strings.TrimSpace(value)
		}
	}
	s.api, err = client.New(client.Config{
		Endpoint: "http://" + at, Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil }),
	})
	return s, err
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

// place is where an instance is attached.
type place = wire.AttachInstanceRequest

func (s *server) attach(ctx context.Context, p place) error {
	_, err := client.Call(ctx, s.api, wire.AttachInstance, p)
	return err
}

func (s *server) detach(ctx context.Context, name string) error {
	_, err := client.Call(ctx, s.api, wire.DetachInstance, wire.InstanceRequest{InstanceName: name})
	return err
}

// attached waits until all attachments are in force, and returns how many there are.
func (s *server) attached(ctx context.Context) (int, error) {
	for deadline := time.Now().Add(startTime); ; time.Sleep(50 * time.Millisecond) {
		answer, err := client.Call(ctx, s.api, wire.GetAttachments, wire.Nothing{})
		if err != nil {
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
