package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// maxOutput is the most that a program may print: a set of credentials has about two thousand bytes.
const maxOutput = 64 << 10

// pipesTime is how long the pipes of a program may stay open after its end, in hands that it left behind.
const pipesTime = 500 * time.Millisecond

// process runs a program that prints credentials, as the setting credential_process of AWS's tools.
// What it prints is read and never shown, on standard error neither. Its whole process group ends with
// it, or with the context.
func process(ctx context.Context, command string) (aws.Credentials, error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	out := &output{full: func() { end(errTooMuch) }}
	complaints := new(counter)
	cmd := exec.CommandContext(ctx, shell, shellFlag, command)
	cmd.Stdout, cmd.Stderr = out, complaints // no standard input: nobody can type here
	cmd.WaitDelay = pipesTime
	err := runGroup(cmd)
	printed := func(format string, args ...any) error {
		return sayf(format+"; it printed %d bytes on standard output and %d on standard error, which are not shown: run it yourself to see them",
			append(args, out.size, *complaints)...)
	}
	exit, exited := errors.AsType[*exec.ExitError](err)
	switch {
	case errors.Is(context.Cause(ctx), errTooMuch):
		return aws.Credentials{}, sayf("the program printed more than %d bytes on standard output, and was ended", maxOutput)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return aws.Credentials{}, printed("the program did not end within %v, and was ended", fetchTime)
	case ctx.Err() != nil:
		return aws.Credentials{}, ctx.Err()
	case exited && exit.ExitCode() >= 0:
		return aws.Credentials{}, printed("the program ended with exit code %d", exit.ExitCode())
	case exited:
		return aws.Credentials{}, printed("the program was ended by a signal")
	case err != nil && !errors.Is(err, exec.ErrWaitDelay): // what it printed is all there, whoever still has the pipe
		return aws.Credentials{}, sayf("the program cannot be run (%v)", ownWords(err))
	}
	keys, wrong := parseOutput(out.text)
	if wrong != "" {
		return aws.Credentials{}, printed("the program's standard output %s", wrong)
	}
	return keys, nil
}

// runGroup runs a command in a process group of its own, and leaves none of that behind.
func runGroup(cmd *exec.Cmd) error {
	// Where the system ends a child with its parent, the parent is the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	group(cmd)
	environment.RLock()
	err := cmd.Start()
	environment.RUnlock()
	if err != nil {
		return err
	}
	defer endGroup(cmd)
	return cmd.Wait()
}

var errTooMuch = errors.New("too much output")

// output keeps what a program prints, up to a bound.
type output struct {
	text []byte
	size int
	full func()
}

func (o *output) Write(p []byte) (int, error) {
	o.size += len(p)
	if o.size > maxOutput {
		o.full()
		return 0, errTooMuch
	}
	o.text = append(o.text, p...)
	return len(p), nil
}

// counter counts what it is given.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// parseOutput reads the document of a credential_process, or says what is wrong with it.
func parseOutput(text []byte) (keys aws.Credentials, wrong string) {
	if runtime.GOOS == "windows" { // its echo leaves the backslashes of quotes in
		text = bytes.ReplaceAll(text, []byte(`\"`), []byte(`"`))
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return keys, "is empty"
	}
	members, wrong := object(text)
	if wrong != "" {
		return keys, wrong
	}
	if string(members["Version"]) != "1" {
		return keys, "has no \"Version\": 1"
	}
	var expiration string
	for _, field := range []struct {
		name     string
		value    *string
		optional bool
	}{
		{"AccessKeyId", &keys.AccessKeyID, false},
		{"SecretAccessKey", &keys.SecretAccessKey, false},
		{"SessionToken", &keys.SessionToken, true},
		{"Expiration", &expiration, true},
	} {
		member, ok := members[field.name]
		if ok && json.Unmarshal(member, field.value) != nil {
			return aws.Credentials{}, "has another thing than a string as " + field.name
		}
		if *field.value == "" && !field.optional {
			return aws.Credentials{}, "has no " + field.name
		}
	}
	if expiration != "" {
		ends, err := time.Parse(time.RFC3339, expiration)
		if err != nil {
			return aws.Credentials{}, "has an Expiration that is not of the form 2006-01-02T15:04:05Z"
		}
		keys.CanExpire, keys.Expires = true, ends
	}
	return keys, ""
}

// object takes a JSON object apart. The errors of encoding/json quote what they are about.
func object(text []byte) (members map[string]json.RawMessage, wrong string) {
	const notJSON = "is not one JSON object"
	decoder := json.NewDecoder(bytes.NewReader(text))
	if first, err := decoder.Token(); err != nil || first != json.Delim('{') {
		return nil, notJSON
	}
	members = map[string]json.RawMessage{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, notJSON
		}
		var value json.RawMessage
		if decoder.Decode(&value) != nil {
			return nil, notJSON
		}
		key, _ := name.(string)
		if _, twice := members[key]; twice {
			return nil, "has a key twice"
		}
		members[key] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, notJSON
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, notJSON
	}
	return members, ""
}
