package main

import (
	"context"
	"fmt"
	"log"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
)

// crowd is what many attachments at once cost.
type crowd struct {
	kind          string
	count         int
	remade, ended time.Duration
	idle          float64   // bytes of an attachment, in the process
	more          []float64 // seconds to the first answer of one more
	calls, detach []float64 // seconds of the calls that attach and detach it
	cpu           float64   // of one core, with nothing to do
}

// measureInterfaces attaches many interfaces: virtual Ethernet pairs, whose other ends are in one
// namespace. It is the last part: to take so many away again takes the kernel minutes.
func (b *bench) measureInterfaces(ctx context.Context) error {
	far, err := b.newGuest("far")
	if err != nil {
		return err
	}
	var places []place
	for _, count := range []int{b.interfaces / 10, b.interfaces} {
		if count == 0 {
			continue
		}
		log.Printf("making %d interfaces", count)
		for i := len(places); i < count; i++ {
			name := fmt.Sprint("v", i)
			l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: fmt.Sprint("g", i), PeerNamespace: netlink.NsFd(far.ns)}
			if err := netlink.LinkAdd(l); err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
			places = append(places, place{Interface: name})
		}
		if err := b.measureCrowd(ctx, "interfaces", places, nil); err != nil {
			return err
		}
	}
	return nil
}

// measureNamespaces attaches many namespaces, and has all of them boot.
func (b *bench) measureNamespaces(ctx context.Context) error {
	if b.namespaces == 0 {
		return nil
	}
	var places []place
	var guests []*guest
	log.Printf("making %d namespaces", b.namespaces)
	for i := range b.namespaces {
		g, err := b.newGuest(fmt.Sprint("c", i))
		if err != nil {
			return err
		}
		guests = append(guests, g)
		places = append(places, place{NetworkNamespace: g.name})
	}
	return b.measureCrowd(ctx, "namespaces", places, func() error {
		for range b.storms {
			if err := b.measureStorm(guests); err != nil {
				return err
			}
		}
		return nil
	})
}

// moreOnes is how often one more is attached to a crowd.
const moreOnes = 50

func (b *bench) measureCrowd(ctx context.Context, kind string, places []place, also func() error) error {
	c := crowd{kind: kind, count: len(places)}
	log.Printf("attaching %d %s", c.count, kind)
	empty, err := b.memoryAlone(ctx, fmt.Sprintf("%s-%d-none", kind, c.count), c.count)
	if err != nil {
		return err
	}
	dataDir := filepath.Join(b.dir, fmt.Sprintf("%s-%d", kind, c.count))
	if err := fill(ctx, dataDir, c.count+2, places); err != nil {
		return err
	}
	s, err := b.start(ctx, dataDir)
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			s.stop()
		}
	}()
	n, err := s.attached(ctx)
	if err != nil {
		return err
	}
	c.remade = time.Since(s.began)
	if n != c.count {
		return fmt.Errorf("%d are attached, not %d", n, c.count)
	}
	if err := b.idleCost(s, &c, empty); err != nil {
		return err
	}
	name := fmt.Sprintf("m%d%.1s", c.count, kind)
	g, p, err := b.routed(name, len(b.crowds))
	if err != nil {
		return err
	}
	p.InstanceName = instance(c.count + 1)
	for range moreOnes {
		answered, called, err := b.attachOnce(ctx, s, g, p)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := s.detach(ctx, p.InstanceName); err != nil {
			return err
		}
		c.more, c.calls, c.detach = append(c.more, answered.Seconds()), append(c.calls, called.Seconds()), append(c.detach, time.Since(began).Seconds())
		if err := b.silent(g); err != nil {
			return err
		}
	}
	if also != nil {
		if err := also(); err != nil {
			return err
		}
	}
	c.ended, stopped = s.stop(), true
	b.crowds = append(b.crowds, c)
	return nil
}

// idle is how long the server is watched doing nothing.
const idle = 5 * time.Second

func (b *bench) idleCost(s *server, c *crowd, empty int64) error {
	time.Sleep(2 * time.Second)
	before, err := s.cpu()
	if err != nil {
		return err
	}
	time.Sleep(idle)
	after, err := s.cpu()
	if err != nil {
		return err
	}
	full, err := s.figure("RssAnon")
	c.cpu, c.idle = (after-before).Seconds()/idle.Seconds(), float64(full-empty)/float64(c.count)
	return err
}

// memoryAlone is what the server holds in memory with as many instances in its store and none attached.
func (b *bench) memoryAlone(ctx context.Context, name string, count int) (int64, error) {
	dataDir := filepath.Join(b.dir, name)
	if err := fill(ctx, dataDir, count+2, nil); err != nil {
		return 0, err
	}
	s, err := b.start(ctx, dataDir)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	time.Sleep(idle)
	return s.figure("RssAnon")
}
