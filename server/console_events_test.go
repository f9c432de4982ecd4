package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestConsoleResume: a page that was cut off is told what it missed, by the id that it has; where that is remembered no more, or
// is none of this store's life, it is told to look at all anew.
func TestConsoleResume(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(t.TempDir()))
	b := i.signedIn(t)
	first := b.events()
	b.call("TagResource", `{"resourceName":"demo","tags":[{"key":"a"}]}`)
	seen := first.until(t, "change", `"name":"demo"`)
	for seen.id == "" { // it is on the last one of the change
		seen = first.until(t, "change", "")
	}
	_ = first.answer.Body.Close()
	b.call("LaunchInstances", `{"instanceNames":["web-1","web-2"]}`)
	b.call("AllocateStaticIp", `{"staticIpName":"front"}`)
	again := b.events("Last-Event-ID: " + seen.id)
	missing := map[string]bool{`{"kind":"instance","name":"web-1"}`: true, `{"kind":"instance","name":"web-2"}`: true, `{"kind":"staticip","name":"front"}`: true}
	for len(missing) > 0 {
		got, ok := again.next()
		if !ok || got.name == "relist" {
			t.Fatalf("resumed at %s: %+v; still missing %v", seen.id, got, missing)
		}
		delete(missing, got.data)
	}
	for _, id := range []string{"0", "999999999999", "-1", "x", "9223372036854775808", "1\t2"} {
		s := b.events("Last-Event-ID: " + id)
		got := s.until(t, "relist", "")
		if got.id == "" || got.id == id {
			t.Errorf("after %q the page goes on at %q", id, got.id)
		}
		_ = s.answer.Body.Close()
	}
	if status, answer := b.ask("GET", "events?region=eu-west-1", ""); status != http.StatusBadRequest {
		t.Errorf("the events of a region that is not served: %d %s", status, answer)
	}
}

// TestConsoleRestart: a server that ends with pages open is not held up by them, and the pages go on with the next one: the
// session holds, and what was changed meanwhile is not missed.
func TestConsoleRestart(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, atOwnAddress(forTest(t.TempDir()), 1))
	dir, listen := i.server.DataDir(), i.server.APIAddrs()[0].String()
	b := i.signedIn(t)
	open := b.events()
	id := open.until(t, "ping", "").id
	i.stop()
	for more := true; more; { // what was on its way; then the stream ends with the server
		_, more = open.next()
	}
	cfg := forTest(dir)
	cfg.APIListen = listen
	i = openInstallation(t, cfg)
	must(t, i.client.call(t.Context(), targetLightsail+"AllocateStaticIp", map[string]string{"staticIpName": "front"}, nil))
	again := b.events("Last-Event-ID: " + id)
	for {
		got, ok := again.next()
		if !ok {
			t.Fatal("the stream ended without a word of what has changed")
		}
		if got.name == "relist" || got.data == `{"kind":"staticip","name":"front"}` {
			break
		}
	}
	b.call("GetInstances", "{}")
}

// TestConsoleStreams: streams are bounded, for a session and in all; one that ends makes room.
func TestConsoleStreams(t *testing.T) {
	t.Parallel()
	cfg := forTest(t.TempDir())
	cfg.APIConnections = 200 // so 80 streams
	i := openInstallation(t, cfg)
	pages := []*browser{i.signedIn(t), i.signedIn(t), i.signedIn(t)}
	var streams []*events
	for n, most := range []int{32, 32, 16} {
		for range most {
			streams = append(streams, pages[n].events())
		}
		a := pages[n].do("GET", "events", "")
		_ = a.Body.Close()
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("stream %d of session %d is answered %s", most+1, n, a.Status)
		}
	}
	// All of them see a change, and whoever makes it is answered.
	pages[0].call("TagResource", `{"resourceName":"demo","tags":[{"key":"a"}]}`)
	for _, s := range streams {
		s.until(t, "change", `{"kind":"instance","name":"demo"}`)
	}
	_ = streams[0].answer.Body.Close()
	must(t, eventually(func() bool {
		a := pages[0].do("GET", "events", "")
		_ = a.Body.Close()
		return a.StatusCode == http.StatusOK
	}))
}

// TestConsoleFlood: ten thousand streams that are asked for, with a session and without, and held open as far as descriptors
// allow, keep neither guests nor operators out.
func TestConsoleFlood(t *testing.T) {
	// Not beside other tests, which need descriptors too.
	const asked, workers = 10_000, 8
	held := min(asked, descriptorsFor(asked))
	t.Logf("of %d streams, %d are held", asked, held)
	i := openInstallation(t, forTest(t.TempDir()))
	b := i.signedIn(t)
	at := i.server.APIAddrs()[0].String()
	session := ""
	for _, c := range b.http.Jar.Cookies(must1(http.NewRequest("GET", b.url, nil)).URL) {
		session = "Cookie: " + c.Name + "=" + c.Value + "\r\n"
	}
	var open []net.Conn
	var asking sync.WaitGroup
	var mu sync.Mutex
	for worker := range workers {
		asking.Go(func() {
			for n := range asked / workers {
				c, err := net.DialTimeout("tcp", at, patience)
				if err != nil {
					continue // refused: that is one way to be bounded
				}
				cookie := session
				if (worker+n)%3 == 0 {
					cookie = ""
				}
				_, _ = io.WriteString(c, "GET /console/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"+cookie+"\r\n")
				mu.Lock()
				open = append(open, c)
				if len(open) > held {
					_ = open[0].Close()
					open = open[1:]
				}
				mu.Unlock()
			}
		})
	}
	for range 50 {
		if got := exchange(t, i.imds, "GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("a guest is answered %s", got)
		}
	}
	asking.Wait()
	must(t, eventually(func() bool { // an operator, from the very address that all of them are from
		defer time.Sleep(10 * time.Millisecond)
		return i.client.call(t.Context(), targetLightsail+"GetInstances", struct{}{}, nil) == nil
	}))
	for _, c := range open {
		_ = c.Close()
	}
	must(t, eventually(func() bool {
		defer time.Sleep(10 * time.Millisecond)
		a := b.do("GET", "events", "")
		_ = a.Body.Close()
		return a.StatusCode == http.StatusOK
	}))
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return v
}
