package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// resolve finds where each seat belongs now. A seat without a spot is reported on, and its attachment
// is an orphan.
func (h *Network) resolve(orphans []*attachment) (map[*seat]place, []*attachment) {
	spots := make(map[*seat]place, len(h.seats))
	homes := make(map[place][]*seat, len(h.seats)) // of an interface or a namespace
	leave := func(s *seat, state State, reason string) {
		if s.at != nil {
			orphans = append(orphans, s.at)
			s.at = nil
		}
		if s.ns != nil {
			s.ns.close()
			s.ns = nil
		}
		delete(spots, s)
		h.report(s, state, reason)
	}
	for _, id := range h.boundFirst() {
		s := h.seats[id]
		s.problem, s.found = "", nil
		where, err := h.locate(s)
		if err != nil {
			s.learnedAt = place{} // the next one there may be another guest's
		}
		home := place{ifindex: where.ifindex, ns: where.ns}
		var other *stranger
		switch {
		case errors.Is(err, errGone):
			leave(s, Gone, "its "+s.kind()+" has gone")
		case errors.Is(err, errAbsent):
			s.lost = true
			leave(s, Waiting, s.place()+" does not exist")
		case errors.As(err, &other):
			s.found, s.lost = &other.found, true
			leave(s, Waiting, other.text)
		case err != nil:
			leave(s, Failed, err.Error())
		case s.bound == nil && owner(s, homes[home]) != nil:
			leave(s, Failed, fmt.Sprintf("endpoint %q is bound to that %s: detach one", owner(s, homes[home]).ID, s.kind()))
		default:
			spots[s] = where
			homes[home] = append(homes[home], s)
		}
	}
	for _, sharers := range homes {
		// Refuse all: to prefer one would be to give its data to another's guest.
		for s, other := range rivals(sharers) {
			leave(s, Failed, fmt.Sprintf("endpoint %q claims the same callers: detach one", other.ID))
		}
	}
	for s, where := range spots {
		h.meets(s, where)
		if !h.bind(s, where) {
			leave(s, Waiting, s.place()+" was found; it is being bound to that")
		}
	}
	return spots, orphans
}

// boundFirst lists the seats so that what one is bound to is no other's, whatever name it has by now.
func (h *Network) boundFirst() []string {
	out := make([]string, 0, len(h.order))
	for _, bound := range []bool{true, false} {
		for _, id := range h.order {
			if (h.seats[id].bound != nil) == bound {
				out = append(out, id)
			}
		}
	}
	return out
}

// owner is who among those at a link is bound to it since it had another name, and has callers that s
// claims now by that link's new one.
func owner(s *seat, there []*seat) *seat {
	for _, other := range there {
		if other.bound != nil && other.Interface != s.Interface && len(rivals([]*seat{s, other})) > 0 {
			return other
		}
	}
	return nil
}

// rivals are those among the seats of one place that claim callers which another one claims too.
func rivals(seats []*seat) map[*seat]*seat {
	if len(seats) < 2 {
		return nil
	}
	out := map[*seat]*seat{}
	type claim struct {
		netip.Prefix
		*seat
	}
	var claims []claim
	for i, s := range seats {
		if len(s.Sources) == 0 { // it claims all
			for j, other := range seats {
				if i != j {
					out[s], out[other] = other, s
				}
			}
		}
		for _, p := range s.Sources {
			claims = append(claims, claim{p.Masked(), s})
		}
	}
	// In this order a prefix comes after those that contain it, with nothing foreign between.
	slices.SortFunc(claims, func(a, b claim) int { return a.Prefix.Compare(b.Prefix) })
	for i := 1; i < len(claims); i++ {
		outer := claims[i-1]
		if !outer.Overlaps(claims[i].Prefix) {
			continue
		}
		if outer.seat != claims[i].seat {
			out[outer.seat], out[claims[i].seat] = claims[i].seat, outer.seat
		}
		claims[i] = outer
	}
	return out
}
