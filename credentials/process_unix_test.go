//go:build unix

package credentials

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
)

// patience bounds every wait: it is less than the programs of these tests would go on for.
const patience = 3 * time.Minute

// gone waits until the processes whose numbers are in the files have ended.
func gone(t *testing.T, files ...string) {
	t.Helper()
	for _, file := range files {
		deadline := time.Now().Add(patience)
		var pid int
		for pid == 0 {
			text, _ := os.ReadFile(file)
			pid, _ = strconv.Atoi(strings.TrimSpace(string(text)))
			if time.Now().After(deadline) {
				t.Fatalf("%s: the program did not get that far", file)
			}
		}
		for ; syscall.Kill(pid, 0) == nil && !zombie(pid); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d is left running", pid)
			}
		}
	}
}

// zombie says whether only nobody's taking note of it keeps a process's number.
func zombie(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, state, _ := bytes.Cut(text, []byte(") "))
	return err == nil && bytes.HasPrefix(state, []byte("Z"))
}

// ofProfile makes a script the credential_process of the AWS configuration's default profile.
func ofProfile(t *testing.T, script string) *Source {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config")
	writeFile(t, config, "[default]\ncredential_process = "+script+"\n")
	t.Setenv("AWS_CONFIG_FILE", config)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	source, err := ParseSource("profile:default")
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// What a program leaves behind neither holds the credentials up nor goes on.
func TestProcessLeavesNothing(t *testing.T) {
	for _, of := range []string{"process", "profile"} {
		t.Run(of, func(t *testing.T) {
			child := filepath.Join(t.TempDir(), "child")
			// The grandchild has both pipes, and would keep them for long.
			script := `sleep 1000 & echo $! >` + child + `; echo '` + goodDocument + `'`
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var keys aws.Credentials
			var err error
			if of == "process" {
				keys, err = process(ctx, script)
			} else {
				keys, err = ofProfile(t, script).fetch(ctx, nil, openimds.RoleForV2)
			}
			if err != nil || keys.AccessKeyID == "" {
				t.Errorf("%v, %v", keys.AccessKeyID, err)
			}
			gone(t, child)
		})
	}
}

// A program that does not end, whatever it does meanwhile, ends with the context, and all it started.
func TestProcessIsEnded(t *testing.T) {
	for name, script := range map[string]string{
		"hangs":            `sleep 1000`,
		"ignores signals":  `trap '' TERM INT HUP; sleep 1000; sleep 1000`,
		"drips":            `while :; do printf x; sleep 0.05; done`,
		"drips trouble":    `while :; do printf x >&2; sleep 0.05; done`,
		"pipeline":         `sleep 1000 | cat`,
		"reads input":      `cat; sleep 1000`,
		"closes its pipes": `exec >&- 2>&-; sleep 1000`,
		"of a profile":     `sleep 1000`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			leader, child := filepath.Join(dir, "leader"), filepath.Join(dir, "child")
			script = `echo $$ >` + leader + `; sleep 1000 & echo $! >` + child + `; ` + script
			source, err := ParseSource("process:" + script)
			if err != nil {
				t.Fatal(err)
			}
			if name == "of a profile" {
				source = ofProfile(t, script)
			}
			s := NewSources(map[string]*Source{AnyRole: source}, slog.New(slog.DiscardHandler))
			in := withRole("web-1", "app")
			s.Keep(in)
			for {
				if text, _ := os.ReadFile(child); len(text) > 0 {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			s.Close()
			gone(t, leader, child)
		})
	}
}

func TestProcessTimesOut(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := process(ctx, "echo "+canary+"; echo "+canary+" >&2; sleep 1000")
	if err == nil || !strings.Contains(err.Error(), "did not end within") || strings.Contains(err.Error(), canary) {
		t.Error(err)
	}
}

// A source that obeys no context, as a file that nobody writes, is left behind.
func TestCloseLeavesBehindWhatHangs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(t.Context(), Search{ConfigFiles: []string{}, CredentialsFiles: []string{fifo}}); err == nil {
		t.Error("a pipe is taken for a file of the AWS configuration")
	}
	release := make(chan struct{})
	defer close(release)
	began := make(chan struct{}, 1)
	s := NewSources(map[string]*Source{AnyRole: {name: "deaf", fetch: func(context.Context, *openimds.Instance, openimds.CredentialSet) (aws.Credentials, error) {
		began <- struct{}{}
		<-release
		return aws.Credentials{}, errors.New(canary)
	}}}, slog.New(slog.DiscardHandler))
	in := withRole("web-1", "app")
	s.Keep(in)
	<-began
	s.Close() // which would wait for ever
}
