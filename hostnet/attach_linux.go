package hostnet

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// attachment is an endpoint in force. It belongs to one interface or namespace, not to one name: when
// that goes, so does the attachment.
type attachment struct {
	endpoint Endpoint
	mark     uint32
	where    place
	ns       *namespace // nil: an interface
	netnsid  int        // the host's number for it
	link     *sentinel  // of that interface
	serving  map[*family]*serving
	inside   inside
	trouble  *trouble
	elements []element
	led      led    // elements are made of it
	heeded   bool   // its device has been seen to
	deaf     string // why its guests cannot be heard, as was told
}

// led is all that may change in what leads packets to an attachment. The elements of thousands are
// looked at for every change of one, so they are made anew only when this is another.
type led struct {
	to      [2]uint16 // ports of the listeners, by family; 0: none
	station string    // of the bridge
	uppers  string    // indexes of interfaces made of this one
}

// noStation is an address that no frame is for. The element must have one: the kernel refuses it
// otherwise, and with it those of all others.
const (
	stationLen = 6
	noStation  = "\x00\x00\x00\x00\x00\x00"
)

func (a *attachment) ledTo(ls *links) led {
	l := led{station: ls.byIndex[a.where.bridge].mac, uppers: fmt.Sprint(ls.uppers(a.where.ifindex))}
	if len(l.station) != stationLen {
		l.station = noStation // of a bridge that has lost its last port; what it becomes is told
	}
	for i, f := range families {
		if s := a.serving[f]; s != nil && a.wants(f) {
			l.to[i] = s.port
		}
	}
	return l
}

// place is what makes two attachments the same.
type place struct {
	ifindex, bridge int // bridge: that the interface is a port of
	ns              inode
}

// there says whether what the attachment was made for has been there all the time.
func (a *attachment) there() bool { return a.link == nil || a.link.there() }

// newMark takes a mark that no attachment has and the last ones did not have either, so that the
// connections of an attachment that is gone do not find their mark again. It is of the class of the device.
func (h *Network) newMark(device int) (uint32, error) {
	for range backIndex / classes {
		h.lastMark++
		h.lastMark = (h.lastMark + classOf(uint32(device)-h.lastMark)) % backIndex
		mark := h.cfg.Mark | h.lastMark
		if h.lastMark != 0 && !h.marks[mark] {
			h.marks[mark] = true
			return mark, nil
		}
	}
	return 0, errors.New("all packet marks are in use")
}

// open makes an attachment, which nothing reaches yet if it is of an interface. With an attachment
// comes what could not be had of it.
func (h *Network) open(s *seat, where place) (*attachment, error) {
	mark, err := h.newMark(where.device())
	if err != nil {
		return nil, err
	}
	a := &attachment{endpoint: s.Endpoint, mark: mark, where: where, serving: map[*family]*serving{}}
	if s.ns != nil {
		a.ns, s.ns = s.ns, nil
		a.netnsid = netnsid(a.ns.file)
		delete(h.left, a.ns.id)
	} else if a.link, err = h.tie(where.ifindex); err != nil {
		delete(h.marks, mark)
		return nil, err
	}
	err = h.serve(a)
	if a.serving[v4] == nil {
		h.shut([]*attachment{a}, nil)
		return nil, cmp.Or(err, errors.New("no listener"))
	}
	return a, err
}

// serve opens and closes listeners so that the families wanted are served.
func (h *Network) serve(a *attachment) error {
	if a.ns != nil {
		return h.serveInside(a)
	}
	var errs []error
	for _, f := range families {
		if !a.wants(f) || a.serving[f] != nil {
			continue
		}
		device := cmp.Or(a.where.bridge, a.where.ifindex)
		if f == v6 && ipv6Off(h.links.byIndex[device].name) {
			errs = append(errs, fmt.Errorf("%v: IPv6 is off on %s", f.addr, h.links.byIndex[device].name))
			continue
		}
		l, port, err := listen(f, a.mark, device)
		if err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", f.addr, err))
			continue
		}
		s, err := newServing(&Listener{l, a.link.there}, port)
		if err != nil {
			errs = append(errs, fmt.Errorf("%v: %w", f.addr, err))
			continue
		}
		a.serving[f] = s
	}
	return errors.Join(errs...)
}

func (a *attachment) wants(f *family) bool { return f == v4 || a.endpoint.IPv6 }

// trim ends the serving of families that are not wanted any more. Nothing leads to them by then.
func (a *attachment) trim() {
	for f, s := range a.serving {
		if !a.wants(f) {
			s.end()
			delete(a.serving, f)
		}
	}
}

func ipv6Off(device string) bool {
	off, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + device + "/disable_ipv6")
	return err != nil || strings.TrimSpace(string(off)) != "0"
}

func (h *Network) serveInside(a *attachment) error {
	failed := map[*family]error{}
	err := h.visitor.in(a.ns.file, func() error {
		ports := map[*family]uint16{}
		for _, f := range families {
			if !a.wants(f) {
				continue
			}
			if a.serving[f] == nil {
				l, port, err := listen(f, a.mark, 0)
				if err != nil {
					failed[f] = err
					continue
				}
				if a.serving[f], err = newServing(&Listener{TCPListener: l}, port); err != nil {
					delete(a.serving, f)
					failed[f] = err
					continue
				}
			}
			ports[f] = a.serving[f].port
		}
		_, more := occupy(h.owner(), a.mark, ports)
		for f, err := range more {
			failed[f] = err
		}
		return a.inside.remember()
	})
	errs := []error{err}
	for _, f := range families {
		if failed[f] == nil && err == nil {
			continue
		}
		if !slices.Contains(errs, failed[f]) { // one reason for both families is said once
			errs = append(errs, failed[f])
		}
		if s := a.serving[f]; s != nil {
			s.end()
			delete(a.serving, f)
		}
	}
	return errors.Join(errs...)
}

// shut ends attachments. What is inside a namespace stays there and leads nowhere: what comes for the
// address is not routed out of it, to whoever answers elsewhere.
func (h *Network) shut(attachments []*attachment, taken map[inode]bool) {
	for _, a := range attachments {
		served := len(a.serving) > 0
		for f, s := range a.serving {
			s.end()
			delete(a.serving, f)
		}
		if a.link != nil {
			a.link.close()
		}
		delete(h.marks, a.mark)
		if a.ns == nil {
			continue
		}
		if served && !taken[a.where.ns] {
			h.left[a.ns.id] = a.ns.name()
		}
		a.ns.close()
	}
}

// want is the elements that lead packets to the attachment's listeners.
func (a *attachment) want(ls *links) []element {
	if a.ns != nil {
		return nil
	}
	iif, mark := string(native(uint32(a.where.ifindex))), string(native(a.mark))
	table := nftables.TableFamilyINet
	if a.where.bridge != 0 {
		table = nftables.TableFamilyBridge
	}
	out := []element{{family: table, set: interfaces, key: iif}}
	if a.where.bridge == 0 {
		out = append(out, element{family: nftables.TableFamilyARP, set: interfaces, key: iif})
	} else {
		out = append(out, a.owns(iif, guestMAC(a.where.ifindex))...)
		out = append(out,
			element{family: table, set: stations, key: iif, value: a.led.station},
			element{family: table, set: pinned, key: mark},
			element{family: table, set: exits, key: mark + iif},
			element{family: nftables.TableFamilyNetdev, set: ports, key: mark, value: iif})
	}
	out = append(out, guardUppers(ls.uppers(a.where.ifindex))...)
	for _, f := range families {
		s := a.serving[f]
		if s == nil || !a.wants(f) {
			continue
		}
		out = append(out, element{family: table, set: listeners(f), key: mark, value: string(port(s.port))})
		if len(a.endpoint.Sources) == 0 {
			out = append(out, element{family: table, set: attached(f), key: iif, value: mark})
		}
		for _, p := range a.endpoint.Sources {
			if familyOf(p.Addr()) == f {
				p = p.Masked()
				out = append(out, element{
					family: table, set: sources(f), value: mark,
					key: iif + string(p.Addr().AsSlice()), end: iif + string(last(p).AsSlice()),
				})
			}
		}
	}
	return out
}

// last is the highest address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < 8*len(b); i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
