package hostnet

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Whoever is root in an attached namespace can remove what is there, and end the listener. So attachments
// are looked at in turn, and what is amiss is put back: at once the first time, and ever more seldom for
// a guest that goes on, which must not keep the host busy.

const (
	// round is the seconds in which all attachments are looked at; atOnce is how many are in one in any case.
	round  = 30
	atOnce = 50
	// calm is how long all has to be well until what was amiss is forgotten.
	calm = time.Minute
)

// trouble is what was amiss with an attachment.
type trouble struct {
	reason string
	times  int
	last   time.Time // that it was put back
	again  time.Time // that it may be put back
	mended bool
}

// text is for people; "": nothing is worth telling.
func (t *trouble) text() string {
	if t == nil {
		return ""
	}
	if t.mended {
		return fmt.Sprintf("%s; put back at %s", t.reason, t.last.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s again and again; it is put back at %s", t.reason, t.again.UTC().Format(time.RFC3339))
}

// inspect looks at the next attachments in turn.
func (h *Network) inspect() {
	h.mu.Lock()
	n := min(len(h.order), max(atOnce, len(h.order)/round+1))
	h.mu.Unlock()
	const together = 25 // others wait for no more than these
	for ; n > 0; n -= together {
		h.inspectNext(min(n, together))
	}
}

func (h *Network) inspectNext(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.order) == 0 {
		return
	}
	type finding struct {
		*seat
		fault string
		links []GuestLink // of its guest; nil: not known
	}
	found := make(chan finding, n)
	looking := 0
	for range n {
		h.next = (h.next + 1) % len(h.order)
		s := h.seats[h.order[h.next]]
		if s.at == nil {
			continue
		}
		h.recheck(s.at)
		looking++
		learns := h.cfg.Learn != nil
		l := h.links.byIndex[s.at.where.ifindex]
		if learns && s.at.ns == nil && !l.leadsElsewhere() {
			h.learned(s, h.heard(s, l, s.at.where.bridge))
			learns = false
		}
		go func() {
			f := finding{seat: s, fault: h.faultOf(s.at)}
			if learns {
				f.links = h.ask(s, l)
			}
			found <- f
		}()
	}
	changed := false
	for range looking {
		f := <-found
		h.learned(f.seat, f.links)
		changed = h.found(f.seat, f.fault) || changed
	}
	if changed {
		h.attempt()
	}
}

// found takes note of what was found of an attachment, and puts it back. It says whether anything is to be
// told.
func (h *Network) found(s *seat, fault string) bool {
	now := time.Now()
	t := s.at.trouble
	if fault == "" {
		if t == nil || !t.mended || now.Before(t.last.Add(calm)) {
			return false
		}
		s.at.trouble = nil
		return true
	}
	if t == nil {
		t = &trouble{}
		s.at.trouble = t
	}
	t.reason = fault
	if now.Before(t.again) {
		was := t.mended
		t.mended = false
		return was
	}
	t.times++
	t.last, t.again = now, now.Add(min(time.Second<<min(t.times, 10), calm))
	t.mended = true
	h.cfg.Log.Warn("an attachment is put back", "endpoint", s.ID, "place", s.place(), "fault", fault, "times", t.times)
	for f, serving := range s.at.serving {
		if !serving.accepting() {
			serving.end()
			delete(s.at.serving, f)
		}
	}
	if err := h.serve(s.at); err != nil {
		t.mended = false
		t.reason = strings.ReplaceAll(fmt.Sprintf("%s; %v", fault, err), "\n", "; ")
	}
	return true
}

// faultOf says what is amiss with an attachment; "": nothing.
func (h *Network) faultOf(a *attachment) string {
	for _, f := range families {
		if s := a.serving[f]; s != nil && !s.accepting() {
			return fmt.Sprintf("the listener of %v was ended", f.addr)
		}
	}
	if a.ns == nil {
		return ""
	}
	var fault string
	err := h.visitor.in(a.ns.file, func() error { fault = a.inside.fault(a.serving); return nil })
	if err != nil {
		return "" // reconcile finds out whether it has gone
	}
	return fault
}

// inside is the table in a namespace as it was made.
type inside struct {
	gen   uint32 // of nftables, when it was last seen to be so
	print imprint
}

// remember takes the table's imprint, in its namespace.
func (i *inside) remember() error {
	gen, err := generation()
	if err != nil {
		return err
	}
	i.gen = gen
	i.print, err = imprintOf(guestTable(), hopsSet)
	return err
}

// fault says, in the namespace, what is not as it was made.
func (i *inside) fault(served map[*family]*serving) string {
	gen, err := generation()
	if err != nil {
		return "" // what is not known is no fault
	}
	if gen != i.gen {
		print, err := imprintOf(guestTable(), hopsSet)
		switch {
		case err != nil:
			return ""
		case print == imprint{}:
			return "the table " + guestTable().Name + " was removed in the namespace"
		case print != i.print:
			return "the table " + guestTable().Name + " was changed in the namespace"
		}
		i.gen = gen
	}
	for f := range served {
		routes, err := netlink.RouteGet(f.addr.AsSlice())
		if err != nil && !errors.Is(err, unix.ENETUNREACH) && !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EACCES) {
			continue
		}
		if err != nil || len(routes) == 0 || routes[0].Type != unix.RTN_LOCAL {
			return fmt.Sprintf("the address %v was removed in the namespace, or its interface lo is down", f.addr)
		}
	}
	return ""
}
