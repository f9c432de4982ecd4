package naming

import (
	"slices"
	"sync"
	"time"

	"github.com/openimds/openimds/socketowner"
)

// cookiesFor is how long namespaces are taken to be where they were: what a link leads to may change.
const cookiesFor = time.Minute

// cookies are those of the namespaces that the callers of one listener may be in.
type cookies struct {
	changed func(before, now []uint64) // nil: nobody is told

	mu   sync.Mutex
	all  []uint64
	at   time.Time
	over bool // nobody listens any more
}

// end has them be nobody's.
func (c *cookies) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(nil)
	c.over = true
}

// are takes note of them. A kernel that has none (before Linux 5.14) leaves it empty.
func (c *cookies) are(places []*socketowner.Finder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set(places)
}

func (c *cookies) set(places []*socketowner.Finder) {
	if c.over {
		return
	}
	before := c.all
	c.all, c.at = nil, time.Now()
	for _, place := range places {
		if cookie, err := place.NetnsCookie(); err == nil && cookie != 0 {
			c.all = append(c.all, cookie)
		}
	}
	if c.changed != nil {
		c.changed(before, c.all)
	}
}

// has implements [namespaces]. The kernel may tell of a call before its process was looked for.
func (w *watch) has(netns uint64) bool {
	w.known.mu.Lock()
	defer w.known.mu.Unlock()
	age := time.Since(w.known.at)
	if !slices.Contains(w.known.all, netns) && age > resolveEvery || age > cookiesFor {
		places := w.namespaces()
		w.known.set(places)
		for _, place := range places {
			_ = place.Close()
		}
	}
	return slices.Contains(w.known.all, netns)
}

// namespacesDiffer returns an error where the kernel does not tell network namespaces apart: whose call it tells of is
// not known there.
func namespacesDiffer() error {
	own, err := socketowner.New()
	if err != nil {
		return err
	}
	defer func() { _ = own.Close() }()
	_, err = own.NetnsCookie()
	return err
}
