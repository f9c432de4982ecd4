package hostnet

import (
	"errors"
	"fmt"
	"net"
)

// errGone is of what was there and is not to be waited for.
var errGone = errors.New("has gone")

// stranger is what has the name of an endpoint and is not what the endpoint is bound to.
type stranger struct {
	found Face
	text  string
}

func (s *stranger) Error() string { return s.text }

func strangerAt(s *seat, found Face) error {
	return &stranger{found: found, text: fmt.Sprintf("%s is not the one it was: %s", s.place(), s.bound.differs(found))}
}

// locate finds the place of a seat. If that is a namespace not held by its attachment, the seat holds
// it from now on.
func (h *Network) locate(s *seat) (place, error) {
	if s.fault != nil {
		return place{}, s.fault
	}
	once := s.was && (s.Once || s.PID != 0)
	if s.Interface != "" {
		where, err := h.locateInterface(s)
		if once && (missing(err) || s.at == nil || s.at.where.ifindex != where.ifindex) {
			return place{}, errGone
		}
		return where, err
	}
	if s.at != nil && s.at.ns.there() {
		if s.bound != nil && !s.ByName && !s.bound.same(s.at.ns.face) {
			return place{}, strangerAt(s, s.at.ns.face)
		}
		return s.at.where, nil
	}
	if once {
		return place{}, errGone
	}
	if s.ns != nil && !s.ns.there() {
		s.ns.close()
		s.ns = nil
	}
	if s.ns == nil {
		if err := h.lookInto(s); err != nil {
			return place{}, err
		}
	}
	if s.bound != nil && !s.ByName && !s.bound.same(s.ns.face) {
		return place{}, strangerAt(s, s.ns.face)
	}
	return place{ns: s.ns.id}, nil
}

// missing says whether what an endpoint is bound to is not there, or another one is.
func missing(err error) bool {
	var other *stranger
	return errors.Is(err, errAbsent) || errors.As(err, &other)
}

// lookInto opens the namespace of a seat.
func (h *Network) lookInto(s *seat) error {
	ns, err := openNamespace(s.Endpoint)
	if err == nil && ns.id == h.visitor.id {
		err = errors.New("this is the host's own namespace")
	}
	if err == nil && s.PID == 0 {
		ns.face, err = h.cookieOf(ns)
	}
	if err != nil {
		if ns != nil {
			ns.close()
		}
		if s.PID != 0 {
			s.fault = err // the next process with this PID is another one
		}
		return err
	}
	s.ns = ns
	return nil
}

func (h *Network) locateInterface(s *seat) (place, error) {
	l, err := h.recognize(s)
	if err != nil {
		return place{}, err
	}
	bridge, err := h.links.reach(l)
	return place{ifindex: l.index, bridge: bridge}, err
}

// recognize finds the link of a seat: the one that it is bound to, whatever that is called by now, or one
// of its name with the same lasting marks.
func (h *Network) recognize(s *seat) (link, error) {
	if s.bound != nil && !s.ByName {
		if l := h.links.byIndex[s.bound.Index]; h.isBound(s, l) {
			return l, h.marked(s, l)
		}
	}
	l, ok := h.links.find(s.Interface)
	if !ok && h.following {
		h.links.ask(s.Interface)
		l, ok = h.links.find(s.Interface)
	}
	switch {
	case !ok:
		return link{}, errAbsent
	case s.ByName:
		return l, nil
	case s.MAC != "" || s.Alias != "" || s.bound == nil || h.isBound(s, l):
		return l, h.marked(s, l)
	}
	if now := h.face(l.index); !s.bound.alike(now) {
		return link{}, strangerAt(s, now)
	}
	return l, nil
}

// isBound says whether a link is the very one that the seat is bound to.
func (h *Network) isBound(s *seat, l link) bool {
	if l.index == 0 {
		return false
	}
	now := h.face(l.index)
	if !s.bound.same(now) {
		return false
	}
	if s.bound.Serial != 0 && now.Serial != 0 {
		return true
	}
	// The number alone may be another link's by now, unless it was never let out of sight.
	if s.at != nil && s.at.where.ifindex == l.index {
		return s.at.link.there()
	}
	return l.name == s.Interface && !s.lost
}

// marked says whether a link has the marks that were asked for.
func (h *Network) marked(s *seat, l link) error {
	mac, now := net.HardwareAddr(l.mac).String(), h.face(l.index)
	switch {
	case s.MAC != "" && mac != s.MAC && mac != ofDomain(s.MAC) && !h.pairOf(s, l):
		return &stranger{now, fmt.Sprintf("%s is not the one it is for: that has the MAC %s, this %s", s.place(), s.MAC, mac)}
	case s.Alias != "" && l.alias != s.Alias:
		return &stranger{now, fmt.Sprintf("%s is not the one it is for: that has the alias %q, this %q", s.place(), s.Alias, l.alias)}
	}
	return nil
}

// pairOf says whether a link is one of a pair whose other end has the address that was asked for, or had it when the
// seat was bound to that link. A guest may give its end any address, so no other link of the name is known by it.
func (h *Network) pairOf(s *seat, l link) bool {
	if l.peer == 0 || s.at != nil && s.at.where.ifindex != l.index {
		return false
	}
	if s.bound != nil {
		byMark := s.bound.MAC == s.MAC || s.bound.MAC == ofDomain(s.MAC)
		return !byMark && h.isBound(s, l)
	}
	other, err := otherEnd(l)
	return err == nil && other.MAC == s.MAC
}

// bind binds a seat to what was found at its place, or has that kept first: then it has no place yet.
func (h *Network) bind(s *seat, where place) (kept bool) {
	if s.ByName || s.PID != 0 {
		return true
	}
	var now Face
	switch {
	case s.Interface != "" && s.bound == nil:
		// What the kernel has told so far may be from before the link's maker gave it an alias: bound to less, it would
		// take another machine's link for its own.
		h.links.ask(s.Interface)
		h.links.doubt(where.ifindex)
		now = h.face(where.ifindex)
	case s.Interface != "":
		now = h.face(where.ifindex)
	case s.ns != nil:
		now = s.ns.face
	default:
		now = s.at.ns.face
	}
	if s.bound != nil && (*s.bound == now || s.bound.Serial != 0 && now.Serial == 0 && s.bound.same(now)) {
		return true // it is no other one because sysfs does not tell for a moment
	}
	if h.cfg.Bind == nil {
		s.bound, s.lost = &now, false
		return true
	}
	h.cfg.Bind(s.ID, now)
	return s.bound != nil || s.at != nil
}
