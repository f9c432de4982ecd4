package control

import (
	"context"
	"crypto/rsa"
	"errors"
	"sync"
	"testing"

	"github.com/openimds/openimds"
)

// TestKeyOfALateMaker: who cannot wait for a key is told why, and the key is the next one's, who does not wait for another.
func TestKeyOfALateMaker(t *testing.T) {
	begun, release := make(chan struct{}, 2), make(chan struct{})
	m := newKeyMaker(func() (*rsa.PrivateKey, error) {
		begun <- struct{}{}
		<-release
		return generateKey()
	})
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-begun; leave() }()
	key, err := m.take(ctx)
	if key != nil || openimds.KindOf(err) != openimds.Unavailable || openimds.CodeOf(err) != openimds.Unready || !errors.Is(err, context.Canceled) {
		t.Fatalf("who left is given %v, %v", key != nil, err)
	}
	close(release)
	late := <-m.spare // as the next one takes it
	m.spare <- late
	if key, err := m.take(ctx); err != nil || key != late {
		t.Errorf("the key that is there is not given: %v", err)
	}
	if len(begun) != 0 {
		t.Error("another key was made beside the one that was there")
	}
}

// TestKeysAreOnesOwn: of many at once each is given a key of its own, and no more are kept than are made at a time.
func TestKeysAreOnesOwn(t *testing.T) {
	m := newKeyMaker(func() (*rsa.PrivateKey, error) { return new(rsa.PrivateKey), nil })
	var mu sync.Mutex
	var asking sync.WaitGroup
	given := map[*rsa.PrivateKey]bool{}
	for range 100 {
		asking.Go(func() {
			key, err := m.take(t.Context())
			mu.Lock()
			defer mu.Unlock()
			if err != nil || given[key] {
				t.Errorf("given before: %t, %v", given[key], err)
			}
			given[key] = true
		})
	}
	asking.Wait()
	if len(given) != 100 {
		t.Errorf("%d keys for 100", len(given))
	}
}

// TestNoKey: that none can be made is the service's own failure, and is not kept for the next one.
func TestNoKey(t *testing.T) {
	fails := true
	m := newKeyMaker(func() (*rsa.PrivateKey, error) {
		if fails {
			return nil, errors.New("no randomness")
		}
		return new(rsa.PrivateKey), nil
	})
	if _, err := m.take(t.Context()); openimds.CodeOf(err) != openimds.Broken {
		t.Error(err)
	}
	fails = false
	if _, err := m.take(t.Context()); err != nil {
		t.Error(err)
	}
}
