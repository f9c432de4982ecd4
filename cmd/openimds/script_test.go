package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openimds/openimds/server"
	"github.com/openimds/openimds/store/etcd"
	"github.com/openimds/openimds/store/etcd/etcdtest"
	"github.com/rogpeppe/go-internal/testscript"
	"go.etcd.io/bbolt"
)

// patience is how long a story waits for what takes milliseconds on a machine that is not busy.
const patience = 3 * time.Minute

// TestStories runs the stories in testdata/script: the real program as its users have it. Beside
// testscript's own commands they have:
//
//	waitready FILE           wait for the ready file; $IMDS and $API are then the addresses
//	http METHOD URL HEADER…  send a request, byte for byte, and print all that comes back
//	until PATTERN METHOD URL HEADER…  send it again until the answer matches; "no answer" is one too
//	body VAR                 put the body of the last answer into a variable
//	fails CODE ARG…          openimds ARG… ends with CODE and one line on standard error
//	shows PATTERN ARG…       openimds ARG… prints that sooner or later
//	mode BITS FILE           the file's permissions are those
//	terminate                send SIGTERM to the program in the background; "terminate again" goes
//	                         on until it has ended
//	hang ADDR [whole]        open a connection and leave it in the middle of a request, or behind a whole one
//	cut FILE SIZE            cut a file off
//	storeversion DIR N       make a store say that it has another version
//	certificate CERT KEY HOST  write a certificate, signed by itself, and its key
//	migration FILE CHAPTER   write the commands of a chapter of docs/MIGRATION.md into a shell script
//	amazon                   set $AMAZON to where a stand-in of AWS's API answers, in front of $API
//	quickstart FILE          write the commands of the README's quick start into a shell script
func TestStories(t *testing.T) {
	stories(t, "script", func(*testscript.Env) {})
}

// TestSharedStore runs those whose servers share a store in etcd: $STORE is its address, each story's own.
func TestSharedStore(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	stories(t, "etcd", func(env *testscript.Env) {
		env.Setenv("STORE", etcd.Scheme+cluster.Addresses()+"/"+filepath.Base(env.WorkDir))
		env.Setenv("OPENIMDS_STORE_TIMEOUT", patience.String())
	})
}

func stories(t *testing.T, dir string, setup func(*testscript.Env)) {
	deadline, _ := t.Deadline()
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", dir),
		WorkdirRoot:        t.TempDir(),
		RequireUniqueNames: true,
		Deadline:           deadline, // for a program that should fail but runs
		Setup: func(env *testscript.Env) error {
			packaging, err := filepath.Abs("../../packaging")
			if err != nil {
				return err
			}
			env.Setenv("PACKAGING", packaging)
			env.Setenv("PATH", filepath.Dir(quick())+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			// Stories run at the same time, so none may use the default ports.
			env.Setenv("OPENIMDS_IMDS_LISTEN", "127.0.0.1:0")
			env.Setenv("OPENIMDS_API_LISTEN", "127.0.0.1:0")
			env.Setenv("LOOPBACK", loopback()) // for who stops and looks whether anybody is still there, or comes back
			env.Setenv(stopVariable, patience.String())
			env.Setenv(apiVariable, apiTimeout)
			env.Setenv("OPENIMDS_DATA_DIR", filepath.Join(env.WorkDir, "data"))
			// SDKs ask once, for a second: too little on a busy machine.
			env.Setenv("AWS_METADATA_SERVICE_TIMEOUT", "60")
			env.Setenv("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "5")
			setup(env)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "boto3":
				cmd := exec.Command("python3", "-c", "import boto3")
				cmd.Dir = t.TempDir() // else a file here could pass for the module
				return cmd.Run() == nil, nil
			case "namespaces":
				return exec.Command("unshare", "-Urn", "true").Run() == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitready":    waitReady,
			"http":         httpRaw,
			"until":        until,
			"body":         body,
			"fails":        fails,
			"shows":        shows,
			"mode":         mode,
			"terminate":    terminate,
			"hang":         hang,
			"cut":          cut,
			"storeversion": storeVersion,
			"quickstart":   quickStart,
			"migration":    migration,
			"amazon":       amazonStandIn,
			"certificate":  certificate,
		},
	})
}

// arguments fails the story unless there are at least least of them.
func arguments(ts *testscript.TestScript, neg bool, args []string, least int) {
	if neg || len(args) < least {
		ts.Fatalf("wrong use of a command; see TestStories")
	}
}

func waitReady(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1)
	file := ts.MkAbs(args[0])
	var text []byte
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var err error
		if text, err = os.ReadFile(file); err == nil {
			break
		}
		if time.Now().After(deadline) {
			ts.Fatalf("openimds is not ready after %v", patience)
		}
	}
	for line := range strings.Lines(string(text)) {
		key, addr, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			ts.Fatalf("the ready file has a line that is not key=value: %q", line)
		}
		ts.Setenv(strings.ToUpper(key), addr)
	}
}

// send sends a request, given as METHOD URL HEADER….
func send(args []string) (answer []byte, err error) {
	addr, path, _ := strings.Cut(args[1], "/")
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s /%s HTTP/1.1\r\n", args[0], path)
	if !slices.ContainsFunc(args[2:], func(header string) bool { return strings.HasPrefix(header, "Host: ") }) {
		fmt.Fprintf(&request, "Host: %s\r\n", addr)
	}
	request.WriteString("Connection: close\r\n")
	for _, header := range args[2:] {
		fmt.Fprintf(&request, "%s\r\n", header)
	}
	request.WriteString("\r\n")
	answer, err = exchange(addr, request.Bytes())
	return bytes.ReplaceAll(answer, []byte("\r\n"), []byte("\n")), err
}

// until is for what a change brings: the guest side carries it out a moment after it was stored.
func until(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 3)
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		answer, err := send(args[1:])
		if err != nil {
			answer = []byte("no answer")
		}
		if pattern.Match(answer) {
			_, err := ts.Stdout().Write(answer)
			ts.Check(err)
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after %v the answer still is\n%s", patience, answer)
		}
	}
}

func httpRaw(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("wrong use of http; see TestStories")
	}
	answer, err := send(args)
	if neg && err == nil {
		ts.Fatalf("there is an answer:\n%s", answer)
	}
	if !neg {
		ts.Check(err)
	}
	_, err = ts.Stdout().Write(answer)
	ts.Check(err)
}

// exchange sends a request and returns the whole answer; that there is none is an error.
func exchange(addr string, request []byte) ([]byte, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(c)
	if err == nil && len(answer) == 0 {
		err = errors.New("the connection was closed without an answer")
	}
	// A long answer comes in chunks, which may end anywhere in a line.
	if head, rest, ok := bytes.Cut(answer, []byte("\r\n\r\n")); ok && bytes.Contains(head, []byte("\r\nTransfer-Encoding: chunked")) {
		whole, cerr := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(rest)))
		return slices.Concat(head, []byte("\r\n\r\n"), whole), errors.Join(err, cerr)
	}
	return answer, err
}

func body(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1)
	_, text, ok := strings.Cut(ts.ReadFile("stdout"), "\n\n")
	if !ok {
		ts.Fatalf("the last command printed no answer")
	}
	ts.Setenv(args[0], text)
}

func fails(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1)
	err := ts.Exec("openimds", args[1:]...)
	code := "0"
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = fmt.Sprint(exit.ExitCode())
	} else {
		ts.Check(err)
	}
	if code != args[0] {
		ts.Fatalf("openimds ended with code %s, not %s", code, args[0])
	}
	if text := ts.ReadFile("stdout"); text != "" {
		ts.Fatalf("a failure prints nothing on standard output")
	}
	text := ts.ReadFile("stderr")
	if !strings.HasPrefix(text, "openimds: ") || strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		ts.Fatalf("a failure is one line on standard error, with the program's name")
	}
}

func shows(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ts.Check(ts.Exec("openimds", args[1:]...))
		if text := ts.ReadFile("stdout"); pattern.MatchString(text) {
			return
		} else if time.Now().After(deadline) {
			ts.Fatalf("after %v it still prints\n%s", patience, text)
		}
	}
}

func mode(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, not %s", args[1], got, args[0])
	}
}

func terminate(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 0)
	for _, cmd := range ts.BackgroundCmds() {
		err := cmd.Process.Signal(syscall.SIGTERM)
		for ; len(args) > 0 && err == nil; time.Sleep(5 * time.Millisecond) {
			err = cmd.Process.Signal(syscall.SIGTERM)
		}
		if !errors.Is(err, os.ErrProcessDone) {
			ts.Check(err)
		}
	}
}

func hang(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1)
	c, err := net.DialTimeout("tcp", args[0], patience)
	ts.Check(err)
	ts.Defer(func() { _ = c.Close() })
	request := "GET / HTTP/1.1\r\nHost: x\r\n"
	if len(args) > 1 {
		request += "\r\n"
	}
	_, err = io.WriteString(c, request)
	ts.Check(err)
}

func cut(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	var size int64
	_, err := fmt.Sscan(args[1], &size)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), size))
}

func storeVersion(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	db, err := bbolt.Open(filepath.Join(ts.MkAbs(args[0]), server.StoreFile), 0o600, &bbolt.Options{Timeout: patience})
	ts.Check(err)
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte("version"), []byte(args[1]))
	})
	ts.Check(errors.Join(err, db.Close()))
}

// quickStart takes the indented lines of the README's chapter as they stand, but for those of make,
// and puts the addresses and the program of the story in the place of the README's.
func quickStart(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 1)
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	ts.Check(err)
	_, chapter, ok := strings.Cut(string(readme), "\n## Quick start\n")
	if !ok {
		ts.Fatalf("the README has no quick start")
	}
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	replace := strings.NewReplacer(defaults.IMDSListen[0], ts.Getenv("IMDS"), defaultAPIListen, ts.Getenv("API"), "bin/openimds", "openimds")
	script := "set -eu\n"
	for line := range strings.Lines(chapter) {
		command, ok := strings.CutPrefix(line, "    ")
		if !ok || strings.HasPrefix(command, "make ") {
			continue
		}
		if program, _, _ := strings.Cut(command, " "); program == "aws" {
			if _, err := exec.LookPath(program); err != nil {
				ts.Logf("left out, for there is no %s: %s", program, command)
				continue
			}
		}
		script += replace.Replace(command)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(script), 0o600))
}
