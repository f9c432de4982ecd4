package imds

import (
	"bytes"
	"errors"
	"io"
	"math/bits"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
)

// faults are what a guest's requests meet on purpose. A guest without any has none: then a request
// costs a look at a nil pointer.
type faults struct {
	openimds.Faults
	path  string        // that they are for, without the version; empty: On is a word
	row   atomic.Uint64 // requests that the faults are for
	count *faultCount   // nil: they are not counted
}

// newFaults goes on with the row of before if the faults are the same, so that another change of the
// instance does not begin it anew.
func newFaults(f *openimds.Faults, before *faults, count *faultCount) *faults {
	if f == nil {
		return nil
	}
	if before != nil && before.count == count {
		if was := before.Faults; was == *f {
			return before
		} else if was.Met = f.Met; was == *f { // the store has heard of some more
			return before
		}
	}
	made := &faults{Faults: *f, count: count}
	made.path, _ = f.On.Path()
	return made
}

// over says whether the faults have ended by themselves. The store may not know yet.
func (f *faults) over(now time.Time) bool {
	return f.TimeOver(now) || f.count != nil && f.count.over()
}

// fate is what one request meets.
type fate struct {
	refused bool          // its connection is reset without an answer
	dropped bool          // its connection stays, without an answer
	status  int           // what it is answered with; 0: with what it asks for
	delay   time.Duration // how long the answer is held back
}

// Two multiples of 2^64 whose multiples are spread evenly (modulo 2^64), also when only each second
// or third is looked at, and that have nothing to do with each other: the golden ratio, and the
// fraction of the square root of 2.
const (
	golden = 0x9E3779B97F4A7C15
	root2  = 0x6A09E667F3BCC909
)

// next decides what a request meets, and says whether that was counted.
//
// Which requests of a row are hit is no accident: the n-th is hit if the fraction of n times the
// golden ratio is below the share. So a test that failed fails again, any hundred requests have
// their share to within a few, and a client that asks for the same things in turn is not hit at the
// same one of them each time, as with each n-th request. The row begins when the faults change.
func (f *faults) next(r *request, now time.Time, w *workspace) (met fate, counted bool) {
	switch {
	case f.over(now):
		return fate{}, false
	case f.Absent(now):
		return fate{refused: true}, false
	case !f.isFor(r, w):
		return fate{}, false
	}
	met, hit := f.draw(f.row.Add(1))
	if counted = hit && f.count != nil; counted && !f.count.take() {
		return fate{}, false
	}
	return met, counted
}

// draw decides what the n-th request meets, and whether it meets anything.
func (f *faults) draw(n uint64) (met fate, hit bool) {
	// What excludes each other has different parts of the numbers from 0 to 1. The latency and the status have
	// the same, as far as they go.
	draw := draw(n)
	if draw < f.RefuseShare {
		return fate{refused: true}, true
	}
	if draw -= f.RefuseShare; draw < f.DropShare {
		return fate{dropped: true}, true
	}
	if draw -= f.DropShare; draw < f.StatusShare {
		met.status, hit = f.Status, true
	}
	if f.LatencyMillis > 0 && (f.LatencyShare == 0 || draw < f.LatencyShare) {
		met.delay, hit = f.Latency(), true
		if jitter := f.Jitter(); jitter > 0 {
			part, _ := bits.Mul64(n*root2, uint64(2*jitter)+1)
			met.delay += time.Duration(part) - jitter
		}
	}
	return met, hit
}

// isFor says whether a request is one that the faults are for. A path is asked for under any version, and
// whatever is below it; PUT gives tokens and nothing else.
func (f *faults) isFor(r *request, w *workspace) bool {
	switch put := r.method == methodPut; {
	case f.On == openimds.FaultsOnAll:
		return true
	case f.On == openimds.FaultsOnToken:
		return put
	case f.path == "":
		return !put
	case put || len(r.target) == 0:
		return false
	}
	sent, _, ok := splitTarget(r.target)
	if !ok {
		return false
	}
	clean, ok := cleanPath(w.path[:0], sent)
	if !ok {
		return false
	}
	w.path = clean
	_, below, _ := bytes.Cut(clean, []byte("/"))
	return len(below) >= len(f.path) && string(below[:len(f.path)]) == f.path && (len(below) == len(f.path) || below[len(f.path)] == '/')
}

// failed is the answer to a request that fails on purpose.
func failed(status int) response {
	if pages[status] != nil {
		return page(status)
	}
	return empty(status)
}

// expired shows the credentials of a source as the set before, whose time is over. The keys are the
// source's: what expired is what clients go by. When the faults are over, it shows them as they are.
type expired struct {
	openimds.CredentialSource
	faults *faults
}

// Credentials implements [openimds.CredentialSource].
func (e expired) Credentials(in *openimds.Instance, set openimds.CredentialSet, now time.Time) openimds.RoleCredentials {
	c := e.CredentialSource.Credentials(in, set, now)
	if e.faults.over(now) {
		return c
	}
	if c.Code != openimds.CredentialsSuccess || !c.Expiration.After(now) {
		return c
	}
	lifetime := c.Expiration.Sub(c.LastUpdated)
	if left := c.Expiration.Sub(now); lifetime <= left { // made in the future, by its own word
		lifetime = left + time.Second
	}
	c.LastUpdated, c.Expiration = c.LastUpdated.Add(-lifetime), c.Expiration.Add(-lifetime)
	return c
}

// credentialsFor are what an instance's credentials are read from.
func credentialsFor(met *faults, source openimds.CredentialSource) openimds.CredentialSource {
	if met == nil || !met.ExpiredCredentials || source == nil {
		return source
	}
	return expired{source, met}
}

// hold keeps an answer back for a time, and says whether it is to be sent then. The deadline for
// reading is the timer: a shutdown lets it pass at once, and who waits no longer is noticed. A
// client may have closed its side and wait for the answer all the same.
func (s *Server) hold(c net.Conn, delay time.Duration) bool {
	until := time.Now().Add(delay)
	_ = c.SetReadDeadline(until)
	if s.closing.Load() { // too late for Shutdown to have found it
		return true
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(c, lingerBytes)); err != nil {
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.stopping:
	}
	return true
}

// silence leaves a connection open without a word, as where packets are lost, until its client gives up. One
// that closes its side has given up, as far as anybody can tell.
func (s *Server) silence(c net.Conn) {
	until := time.Now().Add(openimds.MaxSilence)
	_ = c.SetReadDeadline(until)
	if s.closing.Load() { // too late for Shutdown to have found it
		return
	}
	if n, err := io.Copy(io.Discard, io.LimitReader(c, lingerBytes)); err != nil || n < lingerBytes {
		return
	}
	timer := time.NewTimer(time.Until(until)) // who sends so much is read no further
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.stopping:
	}
}

// reset makes closing the connection a reset, as near to a refusal as an accepted one can come.
func reset(c net.Conn) {
	if tcp, ok := c.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0)
	}
}

// tellFaults says loudly that a guest does not get AWS's behaviour, or that it does again.
func (g *Guest) tellFaults(in *openimds.Instance, was, is *faults) {
	switch log := g.server.cfg.Log; {
	case is != nil && was != is:
		log.Warn("faults on purpose are on: the instance's guest meets what AWS does not do", "instance", in.Name, "faults", in.Faults.String())
	case is == nil && was != nil:
		log.Warn("faults on purpose are off", "instance", in.Name)
	}
}
