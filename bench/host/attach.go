package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"path/filepath"
	"slices"
	"time"

	"github.com/openimds/openimds/bench/fleet"
)

func instance(i int) string { return fleet.Name(i) }

// firstAnswer is how long guests of one kind wait for their first answer, from the beginning of the
// call that attaches them, and how long that call takes.
type firstAnswer struct {
	kind           string
	answers, calls []float64 // seconds
}

// pool is how many guests of a kind take turns.
const pool = 10

// measureAttach attaches one guest after the other to a host that has no other attachment.
func (b *bench) measureAttach(ctx context.Context) error {
	if b.repetitions == 0 {
		return nil
	}
	dataDir := filepath.Join(b.dir, "attach")
	if err := fill(ctx, dataDir, pool+1, nil); err != nil {
		return err
	}
	s, err := b.start(ctx, dataDir)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := newBridge("br0", net.IPv4(10, 1, 0, 1), 16); err != nil {
		return err
	}
	for _, kind := range []struct {
		name string
		make func(i int) (*guest, place, error)
	}{
		{"interface (veth, routed)", func(i int) (*guest, place, error) { return b.routed(fmt.Sprint("r", i), 100+i) }},
		{"port of a bridge", func(i int) (*guest, place, error) { return b.bridged(fmt.Sprint("p", i), i) }},
		{"network namespace", func(i int) (*guest, place, error) {
			name := fmt.Sprint("n", i)
			g, err := b.newGuest(name)
			return g, place{NetworkNamespace: name}, err
		}},
	} {
		log.Printf("attaching guests of the kind %q", kind.name)
		f := firstAnswer{kind: kind.name}
		var guests [pool]*guest
		var places [pool]place
		for i := range guests {
			if guests[i], places[i], err = kind.make(i); err != nil {
				return err
			}
			places[i].InstanceName = instance(i + 1)
		}
		for n := range b.repetitions {
			answer, call, err := b.attachOnce(ctx, s, guests[n%pool], places[n%pool])
			if err != nil {
				return err
			}
			f.answers, f.calls = append(f.answers, answer.Seconds()), append(f.calls, call.Seconds())
			if err := s.detach(ctx, places[n%pool].InstanceName); err != nil {
				return err
			}
			if err := b.silent(guests[n%pool]); err != nil {
				return err
			}
		}
		b.first = append(b.first, f)
	}
	return nil
}

// routed makes a guest behind an interface of the host.
func (b *bench) routed(name string, i int) (*guest, place, error) {
	g, err := b.newGuest(name)
	if err != nil {
		return nil, place{}, err
	}
	err = b.cable(g, name, "", net.IPv4(10, 200, byte(i), 2), net.IPv4(10, 200, byte(i), 1), 24)
	return g, place{Interface: name}, err
}

// bridged makes a guest at a port of br0.
func (b *bench) bridged(name string, i int) (*guest, place, error) {
	g, err := b.newGuest(name)
	if err != nil {
		return nil, place{}, err
	}
	err = b.cable(g, name, "br0", net.IPv4(10, 1, 1, byte(i+1)), net.IPv4(10, 1, 0, 1), 16)
	return g, place{Interface: name}, err
}

// attempt is how often a guest that waits for its first answer tries; so exact is the result.
const attempt = time.Millisecond

// attachOnce attaches a guest, which calls again and again, and returns how long its first answer and
// the call to the control API took.
func (b *bench) attachOnce(ctx context.Context, s *server, g *guest, p place) (answered, called time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	attached := make(chan error, 1)
	go func() {
		err := s.attach(ctx, p)
		called = time.Since(began)
		attached <- err
	}()
	won := make(chan time.Duration, 1)
	tick := time.NewTicker(attempt)
	defer tick.Stop()
	for deadline := began.Add(10 * time.Second); answered == 0; {
		go func() {
			if a, err := b.ask(g, 50*time.Millisecond, "GET", "/latest/meta-data/instance-id"); err == nil && a.status == "200" {
				select {
				case won <- time.Since(began):
				default:
				}
			}
		}()
		select {
		case answered = <-won:
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			return 0, 0, fmt.Errorf("%+v: no answer within 10 s", p)
		}
	}
	return answered, called, <-attached
}

// silent waits until a guest is answered no more.
func (b *bench) silent(g *guest) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if _, err := b.ask(g, 30*time.Millisecond, "GET", "/"); err != nil {
			time.Sleep(60 * time.Millisecond) // what the attempts of before still do
			return nil
		}
	}
	return fmt.Errorf("%s is still answered 10 s after it was detached", g.name)
}

// quantile returns the value that so much of all is not above.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
