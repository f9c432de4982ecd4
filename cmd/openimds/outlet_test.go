package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// A reader who does not read makes nobody wait, costs whole lines only, and is told how many.
func TestOutletDoesNotWait(t *testing.T) {
	reader, writer := io.Pipe()
	o := newOutlet(writer, func(n int) []byte { return fmt.Appendf(nil, "lost %d\n", n) })
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
	if kept*len(line) > outletSize || kept+dropped < writers*each-1 || dropped == 0 {
		t.Errorf("%d kept, %d dropped", kept, dropped)
	}
	var read bytes.Buffer
	done := make(chan struct{})
	go func() { _, _ = io.Copy(&read, reader); close(done) }()
	o.close(patience)
	// What was lost is told behind what was kept.
	if _, err := fmt.Fprint(writer, ""); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	<-done
	if took := time.Since(before); took > patience {
		t.Errorf("closing took %v", took)
	}
	text := strings.ReplaceAll(read.String(), line, "")
	if text != fmt.Sprintf("lost %d\n", dropped) && text != "" {
		t.Errorf("beside whole lines there is %q", text)
	}
}

func TestOutletClosesInTime(t *testing.T) {
	_, writer := io.Pipe()
	o := newOutlet(writer, func(int) []byte { return nil })
	_, _ = o.Write([]byte("x\n"))
	before := time.Now()
	o.close(50 * time.Millisecond)
	if took := time.Since(before); took > patience {
		t.Errorf("it took %v", took)
	}
	_ = writer.Close()
}

// A reader who is gone is none of the writers' matter.
func TestOutletWithoutReader(t *testing.T) {
	reader, writer := io.Pipe()
	_ = reader.Close()
	o := newOutlet(writer, func(int) []byte { return nil })
	for range 1000 {
		_, _ = o.Write([]byte("x\n"))
	}
	o.close(patience)
}
