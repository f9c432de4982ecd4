package hostnet

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Packets with one of our marks, and no others, are delivered to this host if they are for a metadata
// address. The address is in no table that anything else looks at.

func (h *Network) rule(f *family) *netlink.Rule {
	r := netlink.NewRule()
	mask := ^uint32(indexMask)
	r.Family, r.Priority, r.Table = f.af, h.cfg.Priority, h.cfg.Table
	r.Mark, r.Mask = h.cfg.Mark, &mask
	return r
}

func (h *Network) localRoute(f *family) *netlink.Route {
	bits := f.addr.BitLen()
	return &netlink.Route{
		LinkIndex: loopbackIndex, Table: h.cfg.Table, Family: f.af, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
		Dst: &net.IPNet{IP: f.addr.AsSlice(), Mask: net.CIDRMask(bits, bits)},
	}
}

func (h *Network) route(f *family) error {
	gone := func(what string, err error) {
		if err == nil && h.routed[f] {
			h.cfg.Log.Warn("another program has removed a part of the routing; it is put back", "what", what)
		}
	}
	err := netlink.RouteAdd(h.localRoute(f))
	gone(fmt.Sprintf("route of %v in table %d", f.addr, h.cfg.Table), err)
	if errors.Is(err, unix.EEXIST) { // what is there may be another one
		err = netlink.RouteReplace(h.localRoute(f))
	}
	if err != nil {
		return fmt.Errorf("route of %v in table %d: %w", f.addr, h.cfg.Table, err)
	}
	h.routes[f] = true
	err = netlink.RuleAdd(h.rule(f))
	gone(fmt.Sprintf("rule of IP%s for mark %#x", f.name, h.cfg.Mark), err)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("routing rule for mark %#x: %w", h.cfg.Mark, err)
	}
	h.routed[f] = true
	return nil
}

func (h *Network) unroute(f *family) error {
	if !h.routes[f] {
		return nil
	}
	var errs []error
	absent := func(err error) bool {
		return err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.ENODEV)
	}
	if err := netlink.RuleDel(h.rule(f)); !absent(err) {
		errs = append(errs, fmt.Errorf("routing rule for mark %#x: %w", h.cfg.Mark, err))
	}
	if err := netlink.RouteDel(h.localRoute(f)); !absent(err) {
		errs = append(errs, fmt.Errorf("route of %v in table %d: %w", f.addr, h.cfg.Table, err))
	}
	delete(h.routes, f)
	delete(h.routed, f)
	return errors.Join(errs...)
}
