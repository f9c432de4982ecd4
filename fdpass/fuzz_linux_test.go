package fdpass

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzReceive sends packets that no Send makes, with any number of files: each is a message or an error,
// and every file that came is closed when it should be.
func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"Text":"a","Number":1}`), byte(2))
	f.Add([]byte(`{"Text":["a"`), byte(0))
	f.Add([]byte{}, byte(1))
	f.Add([]byte("null"), byte(17)) // more than one message may have
	f.Add([]byte(`{"Number":1e99}`), byte(16))
	f.Add(make([]byte, maxMessage+1), byte(1))
	near, file, err := Pair()
	if err != nil {
		f.Fatal(err)
	}
	conn, err := net.FileConn(file)
	if err != nil {
		f.Fatal(err)
	}
	_ = file.Close()
	far := conn.(*net.UnixConn)
	f.Cleanup(func() { _, _ = near.Close(), far.Close() })
	null, err := os.Open(os.DevNull)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = null.Close() })
	f.Fuzz(func(t *testing.T, packet []byte, count byte) {
		var rights []byte
		if count > 0 {
			fds := make([]int, count%32)
			for i := range fds {
				fds[i] = int(null.Fd())
			}
			rights = unix.UnixRights(fds...)
		}
		before := descriptors(t)
		if _, _, err := far.WriteMsgUnix(packet, rights, nil); err != nil {
			t.Skip("the kernel takes no such packet") // as long as its buffers, for example
		}
		var m struct {
			Text   string
			Number int
		}
		files, err := near.Receive(&m)
		for _, got := range files {
			if err := got.Close(); err != nil {
				t.Error(err)
			}
		}
		switch {
		case len(files) > maxFiles:
			t.Errorf("%d files came", len(files))
		case len(packet) == 0 && err == nil:
			t.Error("nothing is a message")
		case err == nil && !json.Valid(packet[:min(len(packet), maxMessage)]):
			t.Errorf("%q is a message", packet)
		case errors.Is(err, io.EOF) && len(packet) > 0:
			t.Errorf("%q is the end", packet)
		}
		if after := descriptors(t); after != before {
			t.Errorf("%d descriptors are open, were %d", after, before)
		}
	})
}
