package hostdoor_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostdoor"
	"github.com/openimds/openimds/hostlink"
)

// heldSigner signs nothing while it is held.
type heldSigner struct {
	hostdoor.Signer
	entered, held chan struct{} // nil: it is not
}

func (s heldSigner) RSA2048(in *openimds.Instance, d []byte) ([]byte, bool) {
	if s.held != nil {
		s.entered <- struct{}{}
		<-s.held
	}
	return s.Signer.RSA2048(in, d)
}

// serving has a host serve instances.
func (r *replica) serving(host string, n int) (names []string) {
	r.t.Helper()
	for i := range n {
		name := fmt.Sprintf("%s-web-%d", host, i)
		r.create(name, "")
		r.attach(name, host, fmt.Sprintf("tap%d", i))
		names = append(names, name)
	}
	return names
}

func (h *host) sign(names []string) (int, hostlink.SignAnswer, hostlink.ErrorAnswer) {
	h.t.Helper()
	status, text := h.ask(hostlink.PathSign, hostlink.SignRequest{Of: hostlink.Of{Region: home, Process: process}, Instances: names})
	var answer hostlink.SignAnswer
	var failed hostlink.ErrorAnswer
	must(h.t, json.Unmarshal([]byte(text), &answer))
	must(h.t, json.Unmarshal([]byte(text), &failed))
	return status, answer, failed
}

// However many hosts want documents signed at once, and however little time there is for each, each request that has its
// turn is answered with what was signed, and the rest is signed the next time.
func TestSignedByAndBy(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	r.door.SetSignTimes(patience, 0)
	const hosts, each = 5, 4
	var all sync.WaitGroup
	for i := range hosts {
		name := fmt.Sprintf("host-%d", i)
		h := r.join(name)
		names := r.serving(name, each)
		all.Go(func() {
			for n := range each {
				status, answer, _ := h.sign(names[n:])
				if status != http.StatusOK || len(answer.Signed) != 1 || answer.More != (n < each-1) || len(answer.Signed[0].RSA2048) == 0 {
					t.Errorf("%d, %d signed of %d, more %t", status, len(answer.Signed), each-n, answer.More)
					return
				}
			}
		})
	}
	all.Wait()
}

// What was signed before a host may ask for no more is not lost.
func TestSignedUpToTheLimit(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	h := r.join("host-a")
	names := r.serving("host-a", 3)
	r.door.LimitSigns("host-a", 2)
	if status, answer, _ := h.sign(names); status != http.StatusOK || len(answer.Signed) != 2 || !answer.More {
		t.Errorf("%d, %d signed, more %t", status, len(answer.Signed), answer.More)
	}
	if status, _, failed := h.sign(names); status != http.StatusTooManyRequests || failed.Code != hostlink.CodeSlowDown {
		t.Errorf("%d %+v", status, failed)
	}
}

// A host that waits for its turn too long is told to come again, and does not take the replica for away.
func TestSignsTurn(t *testing.T) {
	t.Parallel()
	signer := heldSigner{entered: make(chan struct{}), held: make(chan struct{})}
	r := newReplica(t, func(c *hostdoor.Config) { signer.Signer = c.Signer; c.Signer = signer })
	r.door.SetSignTimes(time.Millisecond, time.Second)
	r.door.SetTakeTime(patience)
	a, b := r.join("host-a"), r.join("host-b")
	mine, others := r.serving("host-a", 1), r.serving("host-b", 1)
	var asking sync.WaitGroup
	asking.Go(func() {
		if status, answer, _ := a.sign(mine); status != http.StatusOK || len(answer.Signed) != 1 {
			t.Errorf("%d, %d signed", status, len(answer.Signed))
		}
	})
	<-signer.entered
	if status, _, failed := b.sign(others); status != http.StatusTooManyRequests || failed.Code != hostlink.CodeSlowDown {
		t.Errorf("%d %+v", status, failed)
	}
	close(signer.held)
	asking.Wait()
}
