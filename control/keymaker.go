package control

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"runtime"

	"github.com/openimds/openimds"
)

// keyMaker makes RSA keys of 2048 bits, as Lightsail does. That takes a fraction of a second of a processor, but many
// seconds where other programs have the processors, and nothing ends it halfway. So nobody waits for a key for longer
// than for the rest of its request, and a key that is made too late is the next one's: who tries again gets ahead.
type keyMaker struct {
	generate func() (*rsa.PrivateKey, error)
	places   chan struct{}        // one for each key that is being made
	spare    chan *rsa.PrivateKey // made too late
}

func newKeyMaker(generate func() (*rsa.PrivateKey, error)) *keyMaker {
	n := runtime.GOMAXPROCS(0) // more at a time are no faster
	return &keyMaker{generate: generate, places: make(chan struct{}, n), spare: make(chan *rsa.PrivateKey, n)}
}

func generateKey() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// take returns a key that nobody else has been given.
func (m *keyMaker) take(ctx context.Context) (*rsa.PrivateKey, error) {
	select {
	case key := <-m.spare:
		return key, nil
	default:
	}
	select {
	case key := <-m.spare:
		return key, nil
	case m.places <- struct{}{}:
	case <-ctx.Done():
		return nil, unready(ctx)
	}
	mine := make(chan madeKey)
	go m.make(ctx, mine)
	select {
	case of := <-mine:
		if of.err != nil {
			return nil, broken(of.err)
		}
		return of.key, nil
	case <-ctx.Done():
		return nil, unready(ctx)
	}
}

type madeKey struct {
	key *rsa.PrivateKey
	err error
}

// make makes a key for one who waits until ctx ends.
func (m *keyMaker) make(ctx context.Context, waits chan<- madeKey) {
	defer func() { <-m.places }()
	key, err := m.generate()
	select {
	case waits <- madeKey{key, err}:
	case <-ctx.Done():
		if err != nil {
			return
		}
		select {
		case m.spare <- key:
		default: // there are enough
		}
	}
}

func unready(ctx context.Context) error {
	return openimds.Errorf(openimds.Unavailable, openimds.Unready, "The key is not made yet, since the machine is busy; try again").Because(ctx.Err())
}
