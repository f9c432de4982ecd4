package imds

import (
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
	met atomic.Uint64 // requests that the faults are for
}

// newFaults goes on with the row of before if the faults are the same, so that another change of the
// instance does not begin it anew.
func newFaults(f *openimds.Faults, before *faults) *faults {
	switch {
	case f == nil:
		return nil
	case before != nil && before.Faults == *f:
		return before
	}
	return &faults{Faults: *f}
}

// fate is what one request meets.
type fate struct {
	refused bool          // its connection is reset without an answer
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

// next decides what a request meets.
//
// Which requests of a row are hit is no accident: the n-th is hit if the fraction of n times the
// golden ratio is below the share. So a test that failed fails again, any hundred requests have
// their share to within a few, and a client that asks for the same things in turn is not hit at the
// same one of them each time, as with each n-th request. The row begins when the faults change.
func (f *faults) next(method method, now time.Time) fate {
	if now.Before(f.AbsentUntil) {
		return fate{refused: true}
	}
	if f.On != openimds.FaultsOnAll && (f.On == openimds.FaultsOnToken) != (method == methodPut) {
		return fate{}
	}
	n := f.met.Add(1)
	// A request that is refused has no status: the two have different parts of the numbers from 0 to 1.
	draw := float64(n*golden>>11) / (1 << 53)
	met := fate{delay: f.Latency()}
	switch {
	case draw < f.RefuseShare:
		return fate{refused: true}
	case draw < f.RefuseShare+f.StatusShare:
		met.status = f.Status
	}
	if jitter := f.Jitter(); jitter > 0 {
		part, _ := bits.Mul64(n*root2, uint64(2*jitter)+1)
		met.delay += time.Duration(part) - jitter
	}
	return met
}

// failed is the answer to a request that fails on purpose.
func failed(status int) response {
	if pages[status] != nil {
		return page(status)
	}
	return empty(status)
}

// expired shows the credentials of a source as the set before, whose time is over. The keys are the
// source's: what expired is what clients go by.
type expired struct{ openimds.CredentialSource }

// Credentials implements [openimds.CredentialSource].
func (e expired) Credentials(in *openimds.Instance, set openimds.CredentialSet, now time.Time) openimds.RoleCredentials {
	c := e.CredentialSource.Credentials(in, set, now)
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
func credentialsFor(in *openimds.Instance, source openimds.CredentialSource) openimds.CredentialSource {
	if in.Faults == nil || !in.Faults.ExpiredCredentials || source == nil {
		return source
	}
	return expired{source}
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
