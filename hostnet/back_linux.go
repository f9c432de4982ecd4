package hostnet

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A host that checks sources (net.ipv4.conf.*.rp_filter) drops a packet, and an ARP question, whose answer it
// would not send out of the interface that it came by. Of guests' addresses its routes know nothing, and two
// guests may have the same one. So each device that guests are heard by gets a route of its own back to
// everybody, which is there for packets with a mark of the Host and for no others: the filter is as strict
// as before for all that the guests send elsewhere.
//
// The kernel looks at marks when it checks sources only where src_valid_mark is set, so it is, on those
// devices, for as long as they are attached. The tables remember of which.
//
// A mark only chooses a routing table, and a host has few of them. So devices share one: its route has all
// of its class as nexthops, any of which satisfies the check. The answers themselves do not go by these
// routes: packets carry backIndex in their mark only until they are routed, and sockets never.

const (
	// backIndex is the bit of marks while it is checked whether a route leads back.
	backIndex = 1 << 22
	// classes bounds the routing tables, and so what the check of one packet costs among thousands of devices.
	classes = 64
)

// classOf is the same for the index of a device and for the marks of what is attached there.
func classOf[N int | uint32](n N) uint32 { return uint32(n) % classes }

// device is what packets of guests arrive at to be routed: an interface, or the bridge that it is a port of.
type device struct {
	filter  int    // its rp_filter, as last read
	ignore  int    // its arp_ignore, the same
	checked int    // the rp_filter that counts for it while it has a carrier, its own or that of all; 0: none
	nexthop uint32 // the number of its nexthop; 0: it has none
	valid   []int  // interfaces of which src_valid_mark was set
	fault   string // why it has no way back
	asks    int    // arp_ignore of the host, by which guests there have asked by ARP in vain; 0: none has
}

// backSet is the set of interfaces of which src_valid_mark was set. It outlives the process.
const backSet = "validated"

func backElement(ifindex int) []element {
	return []element{{family: nftables.TableFamilyINet, set: backSet, key: string(native(uint32(ifindex)))}}
}

// markBack is for packets on their way to a listener, until they are routed.
func (f *firewall) markBack(on bool) rule {
	mask, xor := ^uint32(backIndex), uint32(0)
	if on {
		xor = backIndex
	}
	return rule{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: acc},
		&expr.Bitwise{SourceRegister: acc, DestRegister: acc, Len: 4, Mask: native(mask), Xor: native(xor)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: acc},
	}
}

// markQuestion marks an ARP question by the device that it arrives at.
func (f *firewall) markQuestion() rule {
	return rule{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: acc},
		&expr.Bitwise{SourceRegister: acc, DestRegister: acc, Len: 4, Mask: native(classes - 1), Xor: native(f.mark | backIndex)},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: acc},
	}
}

// device is where packets of the attachment arrive.
func (w place) device() int { return cmp.Or(w.bridge, w.ifindex) }

// heed brings the devices up to date with the seats. Those that nobody is attached to any more are as they
// were before.
func (h *Network) heed() {
	kept := map[int]bool{} // whether anybody has been attached there since before
	for _, s := range h.seats {
		if s.at != nil && s.at.ns == nil {
			index := s.at.where.device()
			kept[index] = kept[index] || s.at.heeded
			s.at.heeded = true
		}
	}
	for index, d := range h.devices {
		if kept[index] { // else the number may be another link's by now
			continue
		}
		h.dropNexthop(d)
		for _, i := range d.valid {
			if h.ledger.change(backElement(i), nil); !h.validated(i) {
				_ = validMark(i, 0) // it may have gone
			}
		}
		delete(h.devices, index)
	}
	for index := range kept {
		if h.devices[index] == nil {
			h.devices[index] = &device{}
			h.reread(index)
		}
	}
	// Others may set these at any moment, so all that follows goes by what is read here.
	all, valid := setting("all", "rp_filter"), setting("all", "src_valid_mark") > 0
	for index, d := range h.devices {
		if d.checked = 0; h.links.byIndex[index].carrier {
			d.checked = max(all, d.filter)
		}
		if d.checked > 0 && !valid {
			h.wantValid(index, d)
		}
	}
}

// validated says whether a device needs src_valid_mark of an interface, which may be the VRF of several.
func (h *Network) validated(i int) bool {
	return h.ledger.refs[backElement(i)[0]] > 0
}

// wantValid has the tables remember what is about to be set.
func (h *Network) wantValid(index int, d *device) {
	asked := []int{index}
	if master := h.links.byIndex[h.links.byIndex[index].master]; master.kind == "vrf" {
		asked = append(asked, master.index) // IP takes packets for arrived there, ARP does not
	}
	for _, i := range asked {
		if !slices.Contains(d.valid, i) && (h.validated(i) || h.setting(i, "src_valid_mark") == 0) {
			d.valid = append(d.valid, i)
			h.ledger.change(nil, backElement(i))
		}
	}
}

// layBack gives each device that needs one its way back. Without it guests are answered all the same where
// sources are not checked, so what fails is told of and tried again.
func (h *Network) layBack() {
	again := map[uint32]bool{} // the classes to look at, and whether they have other members than before
	check := h.checkBack
	if check {
		h.checkBack = false
		h.missWays(again)
	}
	for index, d := range h.devices {
		if d.fault = ""; d.nexthop != 0 || d.checked == 0 {
			continue
		}
		if err := h.layNexthop(index, d); err != nil {
			d.fault = h.noWay(index, d.checked, err)
			continue
		}
		again[classOf(index)] = true
	}
	members := map[uint32][]uint32{}
	for index, d := range h.devices {
		if d.nexthop != 0 {
			members[classOf(index)] = append(members[classOf(index)], d.nexthop)
		}
	}
	var err error
	same := len(members) == len(h.backRules)
	for class := range members {
		same = same && h.backRules[class]
	}
	if check || !same {
		err = h.layRules(members)
	}
	for class, changed := range again {
		if err == nil && changed && len(members[class]) > 0 { // else the kernel has removed it with the last one
			err = h.layGroup(class, members[class])
		}
		if err == nil && len(members[class]) > 0 {
			err = h.layRoute(class)
		}
	}
	if err == nil {
		return
	}
	for index, d := range h.devices {
		if d.nexthop != 0 {
			h.dropNexthop(d)
			d.fault = h.noWay(index, d.checked, err)
		}
	}
}

func (h *Network) noWay(index, filter int, err error) string {
	name := h.links.byIndex[index].name
	return fmt.Sprintf("the host checks the sources of what arrives at %s (rp_filter %d), and has no way back to its guests: %v; "+
		"for each guest, run 'ip route add ADDRESS dev %s'", name, filter, err, name)
}

// missWays finds what others took away: nexthops go with their link's carrier, too, and may have been told of
// late.
func (h *Network) missWays(again map[uint32]bool) {
	want := map[uint32][]uint32{}
	for index, d := range h.devices {
		if d.nexthop != 0 {
			want[classOf(index)] = append(want[classOf(index)], d.nexthop)
		}
	}
	if len(want) == 0 {
		return
	}
	there, err := h.nexthops(true)
	if err != nil {
		h.cfg.Log.Warn("the ways back to guests cannot be read", "err", err)
		return
	}
	for class, ids := range want {
		slices.Sort(ids)
		if again[class] = false; slices.Equal(there[h.group(class)], ids) {
			continue
		}
		for index, d := range h.devices {
			if classOf(index) == class {
				h.dropNexthop(d)
			}
		}
	}
}

// layRules makes the rules that lead to the routes of these classes, and no others.
func (h *Network) layRules(members map[uint32][]uint32) error {
	var errs []error
	absent := func(err error) bool {
		return err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EAFNOSUPPORT)
	}
	for class := range h.backRules {
		if len(members[class]) > 0 {
			continue
		}
		if err := netlink.RuleDel(h.backRule(class)); !absent(err) {
			errs = append(errs, err)
		}
		delete(h.backRules, class)
	}
	if len(members) == 0 {
		if h.backSkips {
			for _, r := range h.skipRules() {
				if err := netlink.RuleDel(r); !absent(err) {
					errs = append(errs, err)
				}
			}
		}
		h.backSkips = false
		return errors.Join(errs...)
	}
	rules := h.skipRules()
	for _, class := range slices.Sorted(maps.Keys(members)) {
		rules = append(rules, h.backRule(class)) // behind the skip: the kernel walks them in this order
		h.backRules[class] = true
	}
	h.backSkips = true
	for _, r := range rules {
		if err := netlink.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("routing rule: %w", err))
		}
	}
	return errors.Join(errs...)
}

// backRule leads the check of what comes for the metadata service by a device of the class to its route.
func (h *Network) backRule(class uint32) *netlink.Rule {
	r := netlink.NewRule()
	mask := ^uint32(indexMask) | backIndex | (classes - 1)
	r.Family, r.Priority, r.Table = unix.AF_INET, h.cfg.Priority+1, int(h.group(class))
	r.Mark, r.Mask = h.group(class), &mask
	// The check asks for a way from the packet's destination to its source.
	r.Src = &net.IPNet{IP: addr4.AsSlice(), Mask: net.CIDRMask(addr4.BitLen(), addr4.BitLen())}
	return r
}

// skipRules lead all other packets of the host past the rules of the classes. The first is where to.
func (h *Network) skipRules() []*netlink.Rule {
	to, skip := netlink.NewRule(), netlink.NewRule()
	mask := ^uint32(indexMask) | backIndex
	to.Family, to.Priority, to.Type = unix.AF_INET, h.cfg.Priority+2, unix.FR_ACT_NOP
	skip.Family, skip.Priority, skip.Goto = unix.AF_INET, h.cfg.Priority+1, h.cfg.Priority+2
	skip.Mark, skip.Mask, skip.Invert = h.group(0), &mask, true
	return []*netlink.Rule{to, skip}
}

// adoptBack takes over what an earlier process left: what it set is set back if nobody is attached there.
func (h *Network) adoptBack() error {
	there, err := elementsOf(h.firewall.tables[nftables.TableFamilyINet].Table, backSet)
	if err != nil && !lacking(err) {
		return err
	}
	for _, e := range there {
		if len(e.key) != 4 {
			continue
		}
		index := int(binary.NativeEndian.Uint32([]byte(e.key)))
		h.devices[index] = &device{valid: []int{index}}
		h.reread(index)
		h.ledger.change(nil, backElement(index))
	}
	h.backSkips, h.checkBack = true, true // they may be there, and may not
	for class := range uint32(classes) {
		h.backRules[class] = true
	}
	ids, err := h.nexthops(false)
	if err != nil && !lacking(err) {
		h.cfg.Log.Warn("what an earlier process left cannot be read", "err", err)
	}
	for id := range ids {
		_ = nexthop(unix.RTM_DELNEXTHOP, 0, unix.AF_UNSPEC, id) // a group may have gone with its last one
	}
	return nil
}

// reread reads the settings of a device.
func (h *Network) reread(index int) {
	d := h.devices[index]
	d.filter, d.ignore = h.setting(index, "rp_filter"), h.setting(index, "arp_ignore")
}

// recheck reads again what others may have set for the devices of an attachment, and puts back what the Host
// has set.
func (h *Network) recheck(a *attachment) {
	d := h.devices[a.where.device()]
	if a.ns != nil || d == nil {
		return
	}
	h.reread(a.where.device())
	if d.nexthop == 0 || setting("all", "src_valid_mark") > 0 {
		return
	}
	for _, i := range d.valid {
		if h.setting(i, "src_valid_mark") == 0 && validMark(i, 1) == nil {
			h.cfg.Log.Warn("another program has changed src_valid_mark; it is put back", "interface", h.links.byIndex[i].name)
		}
	}
}
