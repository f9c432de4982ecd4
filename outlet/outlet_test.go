package outlet

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what takes milliseconds on a machine that is not busy.
const patience = 3 * time.Minute

// A reader who does not read makes nobody wait, costs whole lines only, and is told how many.
func TestOutletDoesNotWait(t *testing.T) {
	reader, writer := io.Pipe()
	o := New(writer, func(n int) []byte { return fmt.Appendf(nil, "lost %d\n", n) })
	const writers, each = 8, 4000
	line := strings.Repeat("x", 99) + "\n"
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				if n, err := o.Write([]byte(line)); n != len(line) || err != nil {
					t.Errorf("%d, %v", n, err)
				}
			}
		})
	}
	all.Wait() // it would not come back
	before := time.Now()
	o.mu.Lock()
	kept, dropped := len(o.waiting), o.dropped
	o.mu.Unlock()
	if kept*len(line) > room || kept+dropped < writers*each-1 || dropped == 0 {
		t.Errorf("%d kept, %d dropped", kept, dropped)
	}
	var read bytes.Buffer
	done := make(chan struct{})
	go func() { _, _ = io.Copy(&read, reader); close(done) }()
	o.Close(patience)
	_ = writer.Close()
	<-done
	if took := time.Since(before); took > patience {
		t.Errorf("closing took %v", took)
	}
	text := strings.ReplaceAll(read.String(), line, "")
	if text != fmt.Sprintf("lost %d\n", dropped) {
		t.Errorf("beside whole lines there is %q", text)
	}
}

// A loss is told where it was, however much is always waiting behind it.
func TestOutletTellsOfALossInItsPlace(t *testing.T) {
	reader, writer := io.Pipe()
	o := New(writer, func(n int) []byte { return fmt.Appendf(nil, "lost %d\n", n) })
	half := strings.Repeat("x", room/2-1) + "\n"
	for range 3 { // one of them is lost
		_, _ = o.Write([]byte(half))
	}
	text := bufio.NewReader(reader)
	if _, err := text.ReadString('\n'); err != nil { // there is room again, but no end of what waits
		t.Fatal(err)
	}
	for o.left() < len(half) {
		time.Sleep(time.Millisecond)
	}
	_, _ = o.Write([]byte("behind\n"))
	for _, want := range []string{half, "lost 1\n", "behind\n"} {
		if got, err := text.ReadString('\n'); err != nil || got != want {
			t.Fatalf("%.20q, %v, not %.20q", got, err, want)
		}
	}
	o.Close(patience)
	_ = writer.Close()
}

// left is how much may be written before something is lost.
func (o *Outlet) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return room - o.size
}

func TestOutletClosesInTime(t *testing.T) {
	_, writer := io.Pipe()
	o := New(writer, func(int) []byte { return nil })
	_, _ = o.Write([]byte("x\n"))
	before := time.Now()
	o.Close(50 * time.Millisecond)
	if took := time.Since(before); took > patience {
		t.Errorf("it took %v", took)
	}
	_ = writer.Close()
}

// A reader who is gone is none of the writers' matter.
func TestOutletWithoutReader(t *testing.T) {
	reader, writer := io.Pipe()
	_ = reader.Close()
	o := New(writer, func(int) []byte { return nil })
	for range 1000 {
		_, _ = o.Write([]byte("x\n"))
	}
	o.Close(patience)
}
