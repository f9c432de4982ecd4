package fdpass

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// both makes both ends of a connection.
func both(t *testing.T) (near, far *Conn) {
	t.Helper()
	near, file, err := Pair()
	if err == nil {
		far, err = Of(file)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A file arrives open, and another time than the words that came before.
func TestMessages(t *testing.T) {
	near, far := both(t)
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(near.Send("one"), near.Send(map[string]int{"two": 2}, f, f), f.Close()); err != nil {
		t.Fatal(err)
	}
	var word string
	if files, err := far.Receive(&word); err != nil || word != "one" || len(files) != 0 {
		t.Errorf("%q, %d files, %v", word, len(files), err)
	}
	var m map[string]int
	files, err := far.Receive(&m)
	if err != nil || m["two"] != 2 || len(files) != 2 {
		t.Fatalf("%v, %d files, %v", m, len(files), err)
	}
	if text, err := io.ReadAll(files[1]); err != nil || string(text) != "content" {
		t.Errorf("%q, %v", text, err)
	}
	for _, f := range files {
		_ = f.Close()
	}
	if err := near.Send(strings.Repeat("x", maxMessage)); err == nil {
		t.Error("a message that is too long was sent")
	}
	_ = near.Close()
	if _, err := far.Receive(&word); !errors.Is(err, io.EOF) {
		t.Errorf("the end is %v", err)
	}
}

// What is not JSON is an error, with the files that came along.
func TestDamage(t *testing.T) {
	near, far := both(t)
	before := descriptors(t)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(near.Send("a word", f), f.Close()); err != nil {
		t.Fatal(err)
	}
	var number int
	files, err := far.Receive(&number)
	if err == nil || len(files) != 1 {
		t.Errorf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		_ = f.Close()
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
}

// A socket is its user's alone, may be deep in the file system, and takes the place of one that a
// killed process left.
func TestListen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(dir, "s"); err == nil {
		t.Error("there is nobody, and an answer")
	}
	left, err := Listen(dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	left.l.SetUnlinkOnClose(false)
	_ = left.Close()
	l, err := Listen(dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	if info, err := os.Stat(filepath.Join(dir, "s")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	c, err := Dial(dir, "s")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	var word string
	if err := c.Send("hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Receive(&word); err != nil || word != "hello" {
		t.Errorf("%q, %v", word, err)
	}
	_ = l.Close()
	if _, err := os.Stat(filepath.Join(dir, "s")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
}
