package bolt

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A call is what a traced process asked of the disk: to write, to make durable, or to change names.
type call struct {
	verb     string // "create", "write", "truncate", "sync", "link", "unlink", "rename", or "said": its standard output
	path, to string
	data     []byte
	at       int64
}

// traced are the system calls that a [call] is made of.
const traced = "pwrite64,write,fdatasync,fsync,ftruncate,fallocate,openat,link,linkat,unlink,unlinkat,rename,renameat,renameat2"

// trace runs a command under strace and returns what it did below dir, in order.
func trace(t *testing.T, dir string, cmd *exec.Cmd) []call {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("skipped: strace is not installed")
	}
	log := filepath.Join(t.TempDir(), "trace")
	cmd.Args = append([]string{strace, "-f", "-qq", "-y", "-xx", "-s", "8000000", "-e", "signal=none", "-e", "trace=" + traced, "-o", log, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = strace
	if out, err := cmd.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("PTRACE")) || bytes.Contains(out, []byte("ptrace")) {
			t.Skipf("skipped: this user may not trace processes: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	f, err := os.Open(log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var calls []call
	unfinished := map[string]string{} // by thread
	for in := bufio.NewReaderSize(f, 1<<20); ; {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return calls
		}
		if err != nil {
			t.Fatal(err)
		}
		thread, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		if begun, ok := strings.CutSuffix(rest, "<unfinished ...>"); ok {
			unfinished[thread] = begun
			continue // it counts when it is finished
		}
		if _, ended, ok := strings.Cut(rest, " resumed>"); ok && strings.HasPrefix(rest, "<... ") {
			rest = unfinished[thread] + ended
		}
		calls = append(calls, parse(rest, dir)...)
	}
}

// parse reads one finished call. Those that failed, and those elsewhere, are none.
func parse(line, dir string) []call {
	name, rest, _ := strings.Cut(line, "(")
	end := strings.LastIndex(rest, ")")
	if end < 0 || !strings.HasPrefix(strings.TrimLeft(rest[end+1:], " "), "= ") || strings.Contains(rest[end:], "= -") {
		return nil
	}
	arguments := rest[:end]
	var texts []string // paths of descriptors, and strings, in the order of the arguments
	for left := arguments; ; {
		begin := strings.IndexAny(left, `"<`)
		if begin < 0 {
			break
		}
		closing := map[byte]string{'"': `"`, '<': ">"}[left[begin]]
		word, after, ok := strings.Cut(left[begin+1:], closing)
		text, err := hex.DecodeString(strings.ReplaceAll(word, `\x`, ""))
		if !ok || err != nil {
			return nil
		}
		texts, left = append(texts, string(text)), after
	}
	last := func() int64 {
		n, _ := strconv.ParseInt(arguments[strings.LastIndex(arguments, " ")+1:], 10, 64)
		return n
	}
	here := func(path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	one := func(c call) []call {
		if !here(c.path) {
			return nil
		}
		return []call{c}
	}
	switch name {
	case "write":
		if strings.HasPrefix(arguments, "1<") && len(texts) == 2 {
			return []call{{verb: "said", data: []byte(texts[1])}}
		}
	case "pwrite64":
		return one(call{verb: "write", path: texts[0], data: []byte(texts[1]), at: last()})
	case "ftruncate":
		return one(call{verb: "truncate", path: texts[0], at: last()})
	case "fsync", "fdatasync":
		return one(call{verb: "sync", path: texts[0]})
	case "openat":
		if strings.Contains(arguments, "O_CREAT") {
			return one(call{verb: "create", path: texts[1]})
		}
	case "unlink":
		return one(call{verb: "unlink", path: texts[0]})
	case "unlinkat":
		return one(call{verb: "unlink", path: texts[1]})
	case "link", "rename":
		return one(call{verb: name, path: texts[0], to: texts[1]})
	case "linkat", "renameat", "renameat2":
		return one(call{verb: strings.TrimRight(name, "at2"), path: texts[1], to: texts[3]})
	}
	return nil
}

// disk is one whose power may go at any moment. What was made durable is there afterwards; of what was
// written since, any part may be, in sectors. Names are in the order in which they were changed.
type disk struct {
	now     map[string]*file // names as the process sees them
	durable map[string]*file
	changes []func(map[string]*file)
	paths   map[string]*file // also of files that had the name before: descriptors keep it
}

type file struct {
	durable []byte
	since   []call
}

func newDisk() *disk {
	return &disk{now: map[string]*file{}, durable: map[string]*file{}, paths: map[string]*file{}}
}

func (d *disk) name(change func(map[string]*file)) {
	change(d.now)
	d.changes = append(d.changes, change)
}

// do carries out a call on a disk whose directory is dir.
func (d *disk) do(c call, dir string) {
	f := d.paths[c.path]
	switch c.verb {
	case "create":
		if d.now[c.path] == nil {
			made := &file{}
			d.paths[c.path] = made
			d.name(func(names map[string]*file) { names[c.path] = made })
		}
	case "write", "truncate":
		f.since = append(f.since, c)
	case "sync":
		if c.path == dir {
			for _, change := range d.changes {
				change(d.durable)
			}
			d.changes = nil
			return
		}
		for _, w := range f.since {
			f.durable = w.onto(f.durable)
		}
		f.since = nil
	case "link", "rename":
		d.paths[c.to] = f
		d.name(func(names map[string]*file) {
			names[c.to] = f
			if c.verb == "rename" {
				delete(names, c.path)
			}
		})
	case "unlink":
		d.name(func(names map[string]*file) { delete(names, c.path) })
	}
}

// onto is content after a write or a change of the length.
func (c call) onto(content []byte) []byte {
	size := c.at + int64(len(c.data))
	if c.verb == "truncate" {
		content = content[:min(int64(len(content)), size)]
	}
	if grow := size - int64(len(content)); grow > 0 {
		content = append(content, make([]byte, grow)...)
	}
	copy(content[c.at:], c.data)
	return content
}

const sector = 512

// fail takes the power away and puts what a restart finds into the directory into, which is empty.
func (d *disk) fail(random *rand.Rand, dir, into string) error {
	names := map[string]*file{}
	for path, f := range d.durable {
		names[path] = f
	}
	for _, change := range d.changes[:random.IntN(len(d.changes)+1)] {
		change(names)
	}
	share := []float64{0, 1, 0.1, 0.5, 0.9}[random.IntN(5)]
	for path, f := range names {
		content := append([]byte{}, f.durable...)
		for _, c := range f.since {
			switch {
			case random.Float64() >= share:
			case c.verb == "truncate" || random.IntN(2) == 0:
				content = c.onto(content)
			default: // torn
				for at := 0; at < len(c.data); at += sector {
					if random.IntN(2) == 0 {
						content = call{at: c.at + int64(at), data: c.data[at:min(at+sector, len(c.data))]}.onto(content)
					}
				}
			}
		}
		if err := os.WriteFile(filepath.Join(into, strings.TrimPrefix(path, dir)), content, 0o600); err != nil {
			return fmt.Errorf("cannot make a state of the disk: %w", err)
		}
	}
	return nil
}
