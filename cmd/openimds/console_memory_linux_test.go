package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openimds/openimds/api/accesskeys"
)

// mostPerPage is how much memory an open page may take of the server, in KB: a connection with its buffers, and a place in
// what has changed.
const mostPerPage = 200

// TestMemoryOfPages opens a hundred pages, each with its stream of events, and has each hear of a change.
func TestMemoryOfPages(t *testing.T) {
	if raceEnabled() {
		t.Skip("skipped: the race detector needs memory of its own; it runs without it, too")
	}
	const pages, ofOneSession = 100, 25
	p := startProcess(t, filepath.Join(t.TempDir(), "data"))
	file := accesskeys.Open(filepath.Join(p.dir, credentialsFile))
	all, err := file.List()
	must(t, err)
	key, _, err := file.Lookup(all[0].ID)
	must(t, err)
	form, err := json.Marshal(map[string]string{"accessKeyId": key.ID, "secretAccessKey": key.Secret})
	must(t, err)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	ask := func(method, path, body string, cookie *http.Cookie) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.api+"/console/"+path, strings.NewReader(body))
		must(t, err)
		r.Header.Set("Content-Type", "application/json")
		if cookie != nil {
			r.AddCookie(cookie)
		}
		answer, err := transport.RoundTrip(r)
		must(t, err)
		t.Cleanup(func() { _ = answer.Body.Close() })
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %s", method, path, answer.Status)
		}
		return answer
	}
	hears := func(lines *bufio.Scanner, words string) {
		for lines.Scan() {
			if strings.Contains(lines.Text(), words) {
				return
			}
		}
		t.Fatalf("a page does not hear of %q", words)
	}
	cookie := ask("POST", "session", string(form), nil).Cookies()[0]
	before := p.resident(t)
	var open []*bufio.Scanner
	for n := range pages {
		if n > 0 && n%ofOneSession == 0 {
			cookie = ask("POST", "session", string(form), nil).Cookies()[0]
		}
		lines := bufio.NewScanner(ask("GET", "events", "", cookie).Body)
		hears(lines, "event: ping")
		open = append(open, lines)
	}
	ask("POST", "api/TagResource", `{"resourceName":"demo","tags":[{"key":"a"}]}`, cookie)
	for _, lines := range open {
		hears(lines, `{"kind":"instance","name":"demo"}`)
	}
	grown := p.resident(t) - before
	t.Logf("%d open pages: from %.1f MiB to %.1f MiB", pages, float64(before)/1024, float64(before+grown)/1024)
	if grown > pages*mostPerPage {
		t.Errorf("%d open pages take %d KB", pages, grown)
	}
}
