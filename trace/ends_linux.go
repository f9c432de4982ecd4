package trace

import (
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// ends are where connections are looked at: at the services' addresses, and at one server's listeners in this network
// namespace.
type ends struct {
	only      bool // one server's calls alone
	own       uint64
	listeners []netip.AddrPort
}

// Bounds of what the programs of one server know.
const (
	mostListeners = 16
	mostLeft      = 4096
)

// endsOf are those of a server; nil: of nobody, all is looked at. A kernel that does not tell namespaces apart (before
// Linux 5.14) has no listeners looked at: others' connections would be too.
func endsOf(only *Server) ends {
	to := ends{only: only != nil}
	if only == nil || len(only.Listeners) == 0 {
		return to
	}
	var err error
	if to.own, err = ownNetns(); err != nil {
		return to
	}
	for _, l := range only.Listeners[:min(len(only.Listeners), mostListeners)] {
		to.listeners = append(to.listeners, netip.AddrPortFrom(l.Addr().Unmap().WithZone(""), l.Port()))
	}
	return to
}

// ownNetns is the cookie of this process's network namespace.
func ownNetns() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}

// within6 are the services' addresses as a socket of IPv6 has them.
func (to ends) within6() []netip.Addr { return append(mapped(addrs4), addrs6...) }

func mapped(addrs []netip.Addr) (all []netip.Addr) {
	for _, a := range addrs {
		all = append(all, netip.AddrFrom16(a.As16()))
	}
	return all
}

// all4 and all6 are the addresses that packets have.
func (to ends) all4() []netip.Addr { return to.with(addrs4, netip.Addr.Is4) }
func (to ends) all6() []netip.Addr { return to.with(addrs6, netip.Addr.Is6) }

func (to ends) with(services []netip.Addr, family func(netip.Addr) bool) []netip.Addr {
	all := slices.Clone(services)
	for _, l := range to.listeners {
		if family(l.Addr()) && !l.Addr().IsUnspecified() && !slices.Contains(all, l.Addr()) {
			all = append(all, l.Addr())
		}
	}
	return all
}

// elsewhere is where a packet of another address goes: a listener may be at any.
func (to ends) elsewhere(match string) string {
	if slices.ContainsFunc(to.listeners, func(l netip.AddrPort) bool { return l.Addr().IsUnspecified() }) {
		return match
	}
	return pass
}

func (to ends) ports() []uint16 {
	all := []uint16{servicePort}
	for _, l := range to.listeners {
		if !slices.Contains(all, l.Port()) {
			all = append(all, l.Port())
		}
	}
	return all
}

// local goes to "match" if the connection of the context in R6 is to a listener of this network namespace, else it ends.
func (to ends) local(v6 bool) asm.Instructions {
	is, some := asm.Instructions{asm.Mov.Imm(asm.R2, 0).WithSymbol("other")}, false
	for i, l := range to.listeners {
		if !v6 && !l.Addr().Is4() && !l.Addr().IsUnspecified() {
			continue
		}
		some = true
		n := string(rune('a' + i))
		is = append(is, asm.LoadMem(asm.R2, asm.R6, addrPort, asm.Word), asm.JNE.Imm(asm.R2, be16(l.Port()), "next"+n))
		switch a := l.Addr(); {
		case a.IsUnspecified():
		case v6:
			is = append(is, jumpAddr(asm.R6, addrIP6, mapped([]netip.Addr{a}), "is"+n)...)
			is = append(is, asm.Ja.Label("next"+n))
		default:
			is = append(is, jumpAddr(asm.R6, addrIP4, []netip.Addr{a}, "is"+n)...)
			is = append(is, asm.Ja.Label("next"+n))
		}
		is = append(is, asm.Ja.Label("local").WithSymbol("is"+n), asm.Mov.Imm(asm.R2, 0).WithSymbol("next"+n))
	}
	is = append(is, asm.Ja.Label(pass))
	if !some { // the kernel refuses what nothing leads to
		return is
	}
	return append(is,
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("local"),
		asm.FnGetNetnsCookie.Call(),
		asm.LoadImm(asm.R1, int64(to.own), asm.DWord),
		asm.JEq.Reg(asm.R0, asm.R1, "match"),
		asm.Ja.Label(pass),
	)
}

// mayBe ends at a connection to a service, whose context is in R6, out of a network namespace that is unwanted.
func (to ends) mayBe(m maps) asm.Instructions {
	if !to.only {
		return asm.Instructions{asm.Mov.Imm(asm.R2, 0).WithSymbol("service")}
	}
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("service"),
		asm.FnGetNetnsCookie.Call(),
		asm.StoreMem(asm.R10, atSeen, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R1, m.unwanted.FD()),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, atSeen),
		asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, pass),
	}
}

// follow notes a connection, whose cookie is at atCookie, so that what is sent over it is looked at.
func (m maps) follow() asm.Instructions {
	if m.followed == nil {
		return nil
	}
	return asm.Instructions{
		asm.StoreImm(asm.R10, atSeen, 1, asm.Word),
		asm.StoreImm(asm.R10, atSeen+4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, m.followed.FD()),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, atCookie),
		asm.Mov.Reg(asm.R3, asm.R10),
		asm.Add.Imm(asm.R3, atSeen),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnMapUpdateElem.Call(),
	}
}

// isFollowed ends unless the connection is one of those.
func (m maps) isFollowed() asm.Instructions {
	if m.followed == nil {
		return nil
	}
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, m.followed.FD()),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, atCookie),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, pass),
	}
}

// leaves says whether an event is of a connection that cannot be the server's. Its namespace is left from then on.
func (k *kernel) leaves(e event) bool {
	if k.only == nil || e.kind != kindConnect && e.kind != kindConnectArgs || !isService(e.addr) || k.only.May(e.netns) {
		return false
	}
	_ = k.followed.Delete(e.cookie)
	if k.unwanted.Put(e.netns, uint64(1)) == nil { // else it is full, and the next one is asked about as well
		k.left[e.netns] = true
	}
	return true
}

// askAgain looks once a second at the namespaces that were left: a guest may be there by now.
func (k *kernel) askAgain() {
	now := time.Now()
	if len(k.left) == 0 || now.Sub(k.asked) < time.Second {
		return
	}
	k.asked = now
	for netns := range k.left {
		if k.only.May(netns) && k.unwanted.Delete(netns) == nil {
			delete(k.left, netns)
		}
	}
}
