package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The nexthops and routes of the ways back to guests, and the settings of interfaces, which the library for
// netlink does not know.

// group is the number of the nexthops of a class, and of its routing table.
func (h *Network) group(class uint32) uint32 { return h.cfg.Mark | backIndex | class }

func (h *Network) layNexthop(index int, d *device) error {
	for _, i := range d.valid {
		if err := validMark(i, 1); err != nil {
			return fmt.Errorf("src_valid_mark: %w", err)
		}
	}
	id, err := h.newMark(index)
	if err != nil {
		return err
	}
	err = nexthop(unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, unix.AF_INET, id, nl.NewRtAttr(unix.NHA_OIF, native(uint32(index))))
	if err != nil {
		delete(h.marks, id)
		return fmt.Errorf("nexthop: %w", err)
	}
	d.nexthop = id
	return nil
}

// dropNexthop takes a nexthop away, if the kernel has not done so: with the carrier of its link.
func (h *Network) dropNexthop(d *device) {
	if d.nexthop == 0 {
		return
	}
	_ = nexthop(unix.RTM_DELNEXTHOP, 0, unix.AF_UNSPEC, d.nexthop)
	delete(h.marks, d.nexthop)
	d.nexthop = 0
}

// layGroup makes the nexthops of a class one, to which its route leads.
func (h *Network) layGroup(class uint32, members []uint32) error {
	var group []byte
	for _, id := range members {
		group = append(append(group, native(id)...), 0, 0, 0, 0) // struct nexthop_grp, linux/nexthop.h
	}
	err := nexthop(unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, unix.AF_UNSPEC, h.group(class), nl.NewRtAttr(unix.NHA_GROUP, group))
	if err != nil {
		return fmt.Errorf("nexthops: %w", err)
	}
	return nil
}

// layRoute makes the route of a class, if it is not there.
func (h *Network) layRoute(class uint32) error {
	id := h.group(class)
	request := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	message := nl.NewRtMsg()
	message.Family, message.Table, message.Scope = unix.AF_INET, unix.RT_TABLE_UNSPEC, unix.RT_SCOPE_LINK
	request.AddData(message)
	request.AddData(nl.NewRtAttr(unix.RTA_TABLE, native(id)))
	request.AddData(nl.NewRtAttr(routeNexthop, native(id)))
	if _, err := request.Execute(unix.NETLINK_ROUTE, 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("route of table %d: %w", id, err)
	}
	return nil
}

const routeNexthop = 30 // RTA_NH_ID, linux/rtnetlink.h

// nexthop adds or deletes one, or a group.
func nexthop(kind, flags int, family uint8, id uint32, attrs ...*nl.RtAttr) error {
	request := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	request.AddData(nexthopHeader{family})
	request.AddData(nl.NewRtAttr(unix.NHA_ID, native(id)))
	for _, a := range attrs {
		request.AddData(a)
	}
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// nexthopHeader is struct nhmsg of linux/nexthop.h, of which only the family is ever set.
type nexthopHeader struct{ family uint8 }

func (nexthopHeader) Len() int { return unix.SizeofNhmsg }
func (m nexthopHeader) Serialize() []byte {
	return append([]byte{m.family}, make([]byte, unix.SizeofNhmsg-1)...)
}

// nexthops lists those of the Host, or only the groups, with the members of each in order.
func (h *Network) nexthops(groups bool) (map[uint32][]uint32, error) {
	request := nl.NewNetlinkRequest(unix.RTM_GETNEXTHOP, unix.NLM_F_DUMP)
	request.AddData(nexthopHeader{unix.AF_UNSPEC})
	if groups {
		request.AddData(nl.NewRtAttr(unix.NHA_GROUPS, nil))
	}
	answers, err := request.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEXTHOP)
	if err != nil {
		return nil, fmt.Errorf("list of nexthops: %w", err)
	}
	out := map[uint32][]uint32{}
	for _, a := range answers {
		if len(a) < unix.SizeofNhmsg {
			continue
		}
		id := attribute(a[unix.SizeofNhmsg:], unix.NHA_ID)
		if len(id) != 4 || binary.NativeEndian.Uint32(id)&^indexMask != h.cfg.Mark {
			continue
		}
		var members []uint32
		for group := range slices.Chunk(attribute(a[unix.SizeofNhmsg:], unix.NHA_GROUP), 8) {
			members = append(members, binary.NativeEndian.Uint32(group))
		}
		slices.Sort(members)
		out[binary.NativeEndian.Uint32(id)] = members
	}
	return out, nil
}

// validMark sets src_valid_mark of an interface by its index: its name may be another one's by now, and
// /proc/sys is read-only in many containers.
func validMark(index int, value uint32) error {
	const sourceValidMark = 24 // IPV4_DEVCONF_SRC_VMARK, linux/ip.h
	request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(index)
	request.AddData(message)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, nil)
	spec.AddRtAttr(unix.AF_INET|unix.NLA_F_NESTED, nil).AddRtAttr(unix.IFLA_INET_CONF|unix.NLA_F_NESTED, nil).AddRtAttr(sourceValidMark, native(value))
	request.AddData(spec)
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// setting is one of net.ipv4.conf; 0: it is off, or the interface is not there.
func setting(name, what string) int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + name + "/" + what)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

func (h *Network) setting(index int, what string) int {
	l, ok := h.links.byIndex[index]
	if !ok {
		return 0
	}
	return setting(l.name, what)
}
