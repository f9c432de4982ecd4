package console_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// until reads lines up to one that has those words; false: the stream has ended.
func until(lines *bufio.Scanner, words string) bool {
	for lines.Scan() {
		if strings.Contains(lines.Text(), words) {
			return true
		}
	}
	return false
}

// TestSlowReader: who does not read is dropped and makes room; whoever changes something never waits for them.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, 1)
		p := f.page().signIn(keyID, secret)
		lines, closeIt := p.events()
		if !until(lines, "event: ping") {
			t.Fatal("the stream says nothing")
		}
		if status := p.ask("GET", "events", ""); status != http.StatusServiceUnavailable {
			t.Errorf("a second stream where there may be one is answered %d", status)
		}
		before := time.Now()
		for n := range 3000 {
			f.change(string(rune('a' + n%26)))
		}
		if time.Since(before) != 0 {
			t.Error("changes wait for a page")
		}
		time.Sleep(11 * time.Second) // nobody reads
		synctest.Wait()
		next, closeNext := p.events()
		if !until(next, "event: ping") {
			t.Error("the next page is told nothing")
		}
		closeNext()
		closeIt()
		f.stop()
	})
}

// TestStreamLives: a stream pings; it ends with its session, which it does not keep from being idle.
func TestStreamLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, 4)
		idle, leaving := f.page().signIn(keyID, secret), f.page().signIn(keyID, secret)
		begun := time.Now()
		lines, closeIt := idle.events()
		gone, closeGone := leaving.events()
		pings := 0
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for until(lines, "event: ping") {
				pings++
			}
		}()
		if !until(gone, "event: ping") || leaving.ask("DELETE", "session", "") != http.StatusNoContent {
			t.Fatal("no stream, or no sign-out")
		}
		if until(gone, "event: change") || time.Since(begun) != 0 {
			t.Error("a stream goes on after the sign-out")
		}
		<-ended
		if lasted := time.Since(begun); lasted < time.Hour || lasted > time.Hour+time.Minute || pings < 200 {
			t.Errorf("the stream of an idle session ended after %v and %d pings", lasted, pings)
		}
		closeIt()
		closeGone()
		f.stop()
	})
}

// TestStreamEndsWithTheServer: a server that ends is not held up by open pages.
func TestStreamEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, 1)
		lines, closeIt := f.page().signIn(keyID, secret).events()
		if !until(lines, "event: ping") {
			t.Fatal("the stream says nothing")
		}
		f.stop()
		if until(lines, "event: change") {
			t.Error("a stream goes on after the server")
		}
		closeIt()
	})
}
