package hostnet

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link is what the Host needs to know of an interface.
type link struct {
	index  int
	name   string
	kind   string // "bridge", "veth", "tun", …
	master int
	parent int    // that it is made of, as one of a VLAN is; 0: none here
	peer   int    // the other end of a pair, by its number in its namespace; 0: it is none
	mac    string // six bytes
	// netnsid is the host's number for the namespace that the other end is in; -1: the host's own.
	netnsid int
	up      bool // somebody has set it up
	carrier bool // and packets can come and go
	alias   string
	origin  origin // once somebody has asked
}

// links is the interfaces of the host, as far as they have been told.
type links struct {
	byIndex  map[int]link
	byName   map[string]int
	byParent map[int][]int
	macs     map[string]int // how many of one kind have the same address, by kind and address
}

func newLinks() *links {
	return &links{byIndex: map[int]link{}, byName: map[string]int{}, byParent: map[int][]int{}, macs: map[string]int{}}
}

func toLink(l netlink.Link) link {
	a := l.Attrs()
	out := link{index: a.Index, name: a.Name, kind: l.Type(), master: a.MasterIndex, mac: string(a.HardwareAddr), netnsid: a.NetNsID, alias: a.Alias,
		up: a.RawFlags&unix.IFF_UP != 0, carrier: a.RawFlags&unix.IFF_LOWER_UP != 0}
	pair := slices.Contains([]string{"veth", "netkit", "vxcan"}, out.kind) // whose parent is the other end
	switch {
	case pair:
		out.peer = a.ParentIndex
	case a.NetNsID < 0:
		out.parent = a.ParentIndex
	}
	return out
}

// leadsElsewhere says whether a link is one of a pair whose other end is in another namespace.
func (l link) leadsElsewhere() bool { return l.peer != 0 && l.netnsid >= 0 }

func (ls *links) put(l link) {
	if old, ok := ls.byIndex[l.index]; ok && old.mac == l.mac && old.kind == l.kind {
		l.origin = old.origin
	}
	ls.drop(l.index)
	ls.byIndex[l.index] = l
	ls.byName[l.name] = l.index
	if l.parent != 0 && l.parent != l.index {
		ls.byParent[l.parent] = append(ls.byParent[l.parent], l.index)
		slices.Sort(ls.byParent[l.parent])
	}
	ls.macs[l.kind+l.mac]++
}

func (ls *links) drop(index int) {
	old, ok := ls.byIndex[index]
	if !ok {
		return
	}
	delete(ls.byIndex, index)
	if siblings := slices.DeleteFunc(ls.byParent[old.parent], func(i int) bool { return i == index }); len(siblings) > 0 {
		ls.byParent[old.parent] = siblings
	} else {
		delete(ls.byParent, old.parent)
	}
	if key := old.kind + old.mac; ls.macs[key] > 1 {
		ls.macs[key]--
	} else {
		delete(ls.macs, key)
	}
	if ls.byName[old.name] == index {
		delete(ls.byName, old.name)
	}
}

// list asks for all interfaces.
func (ls *links) list() error {
	var all []netlink.Link
	if err := again(func() (err error) { all, err = netlink.LinkList(); return err }); err != nil {
		return fmt.Errorf("list of interfaces: %w", err)
	}
	*ls = *newLinks()
	for _, l := range all {
		ls.put(toLink(l))
	}
	return nil
}

// ask looks for one interface that has not been told of yet, and for the one that it is a part of.
func (ls *links) ask(name string) {
	found, err := netlink.LinkByName(name)
	if err != nil || found.Attrs().Name != name { // alternative names are not followed
		return
	}
	l := toLink(found)
	ls.put(l)
	if _, told := ls.byIndex[l.master]; told || l.master == 0 {
		return
	}
	if master, err := netlink.LinkByIndex(l.master); err == nil {
		ls.put(toLink(master))
	}
}

func (ls *links) find(name string) (link, bool) {
	index, ok := ls.byName[name]
	return ls.byIndex[index], ok
}

// reach says how guests on an interface are reached: as a port of the bridge with this index, or, 0,
// by the interface itself.
func (ls *links) reach(l link) (bridge int, err error) {
	if l.kind == "macvtap" || l.kind == "ipvtap" {
		return 0, fmt.Errorf("%s is a %s, which passes the host by: use a tap on a bridge, or routed", l.name, l.kind)
	}
	if l.master == 0 {
		return 0, nil
	}
	master, ok := ls.byIndex[l.master]
	if !ok {
		return 0, fmt.Errorf("the interface that %s is a part of is in another namespace", l.name)
	}
	switch master.kind {
	case "bridge":
		return master.index, nil
	case "vrf":
		return 0, nil
	}
	return 0, fmt.Errorf("%s is a part of %s, a %s: attach that, or a port of a Linux bridge", l.name, master.name, master.kind)
}

// station is the address frames for the host carry on the way in by this interface.
func (ls *links) station(index int) net.HardwareAddr { return net.HardwareAddr(ls.byIndex[index].mac) }

// again repeats what the kernel says was interrupted by a change.
func again(do func() error) error {
	var err error
	for range 10 {
		if err = do(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return err
}
