package hostnet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// lookAgain is how often the host is looked at without an event: for what no event tells (the end
	// of a process, a namespace mounted on its name), what others undid (rules, tables), and what failed.
	lookAgain = time.Second
	// settle gathers the events of one change; creating an interface sends several.
	settle = 2 * time.Millisecond
)

// Run follows the host's interfaces and namespaces until the context ends: endpoints are attached when
// theirs appear and detached when they go. What others take away (`nft flush ruleset`) is put back.
func (h *Network) Run(ctx context.Context) error {
	defer h.follow(false)
	for {
		err := h.runOnce(ctx)
		if ctx.Err() != nil {
			return nil
		}
		// The kernel had more to tell than the socket could hold, or the socket failed: start afresh.
		h.cfg.Log.Warn("interfaces are listed anew", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (h *Network) follow(yes bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.following = yes
}

// runOnce follows until the subscription ends.
func (h *Network) runOnce(ctx context.Context) error {
	events := make(chan netlink.LinkUpdate, 256)
	done := make(chan struct{})
	defer func() {
		close(done)
		for range events { // until the subscription has ended
		}
	}()
	var failure error
	err := netlink.LinkSubscribeWithOptions(events, done, netlink.LinkSubscribeOptions{
		ReceiveBufferSize: 4 << 20, ReceiveBufferForceSize: true,
		ErrorCallback: func(err error) { failure = err },
	})
	if err != nil {
		close(events)
		return fmt.Errorf("following the interfaces: %w", err)
	}
	// Listed after subscribing: nothing falls between.
	if err := h.relist(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	names, tables := watchNames(ctx), watchTables(ctx)
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok {
				return errors.Join(errors.New("following the interfaces ended"), failure)
			}
			h.told(gather(e, events))
		case <-names:
			h.look(false)
		case <-tables:
			h.tablesTold()
		case <-tick.C:
			h.look(true)
			h.inspect()
		}
	}
}

// gather waits a little for what belongs together.
func gather(first netlink.LinkUpdate, events <-chan netlink.LinkUpdate) []netlink.LinkUpdate {
	all := []netlink.LinkUpdate{first}
	timer := time.NewTimer(settle)
	defer timer.Stop()
	for len(all) < 1000 {
		select {
		case e, ok := <-events:
			if !ok {
				return all
			}
			all = append(all, e)
		case <-timer.C:
			return all
		}
	}
	return all
}

func (h *Network) relist() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.links.list(); err != nil {
		return err
	}
	h.following = true
	h.attempt()
	return nil
}

// told takes events in. An interface that went and came again between two of them must be seen to have
// gone, so each removal is acted on before what follows.
func (h *Network) told(events []netlink.LinkUpdate) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range events {
		l := toLink(e.Link)
		if e.IfInfomsg.Family == unix.AF_BRIDGE {
			continue // a bridge telling of its port; the port tells itself
		}
		if e.Header.Type == unix.RTM_DELLINK {
			h.links.drop(l.index)
			if h.anyoneAt(l.index) {
				h.attempt()
			}
			continue
		}
		h.links.put(l)
		if d := h.devices[l.index]; d != nil && !l.carrier {
			h.dropNexthop(d) // the kernel has, even if the next event is of its coming back
		}
	}
	h.attempt()
}

func (h *Network) anyoneAt(index int) bool {
	for _, s := range h.seats {
		if s.at != nil && (s.at.where.ifindex == index || s.at.where.bridge == index) {
			return true
		}
	}
	return false
}

// look reconciles without news of interfaces; thoroughly: it checks that what was put there still is.
func (h *Network) look(thoroughly bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if thoroughly {
		h.checkTables()
		h.checkBack = true
		h.listen()
	}
	h.attempt()
}

// attempt reconciles; what fails is in the status and is tried again.
func (h *Network) attempt() {
	if h.closed || !h.given {
		return
	}
	if err := h.reconcile(nil); err != nil {
		h.cfg.Log.Debug("not all endpoints are attached", "err", err)
	}
}
