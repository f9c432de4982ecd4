package hostnet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/hostnet"
)

// TestThreadsComeHome attaches and detaches many namespaces at once and again: afterwards every thread of
// the process is in the host's namespace, and every guest was answered as itself.
func TestThreadsComeHome(t *testing.T) {
	const namespaces, rounds = 60, 5
	h, _ := newHost(t)
	guests := map[string]*namespace{}
	var all []hostnet.Endpoint
	for n := range namespaces {
		id := fmt.Sprintf("c%d", n)
		guests[id] = newNamespace(t, id)
		all = append(all, hostnet.Endpoint{ID: id, Netns: id})
	}
	for round := range rounds {
		must(t, h.Set(all))
		for id, ns := range guests {
			if round == 0 || id[len(id)-1] == byte('0'+round) {
				ns.hears(metadata4, id)
			}
		}
		must(t, h.Set(all[:namespaces/2]))
	}
	must(t, h.Set(nil))
	home, err := os.Readlink("/proc/thread-self/ns/net")
	must(t, err)
	away := map[string]int{}
	for end := time.Now().Add(forever); ; time.Sleep(10 * time.Millisecond) { // threads end a moment after their work
		clear(away)
		threads, err := filepath.Glob("/proc/self/task/*/ns/net")
		must(t, err)
		for _, thread := range threads {
			if strings.HasPrefix(thread, fmt.Sprintf("/proc/self/task/%d/", os.Getpid())) {
				continue // the first thread cannot end: where the tests' own visits ran on it, it rests there
			}
			if at, err := os.Readlink(thread); err == nil && at != home {
				away[at]++
			}
		}
		if len(away) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("threads are in other namespaces: %v", away)
		}
	}
}
