package hostnet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Packets with one of our marks, and no others, are delivered to this host if they are for a metadata
// address. The address is in no table that anything else looks at.

func (h *Host) rule(f *family) *netlink.Rule {
	r := netlink.NewRule()
	mask := ^uint32(indexMask)
	r.Family, r.Priority, r.Table = f.af, h.cfg.Priority, h.cfg.Table
	r.Mark, r.Mask = h.cfg.Mark, &mask
	return r
}

func (h *Host) localRoute(f *family) *netlink.Route {
	bits := f.addr.BitLen()
	return &netlink.Route{
		LinkIndex: loopbackIndex, Table: h.cfg.Table, Family: f.af, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
		Dst: &net.IPNet{IP: f.addr.AsSlice(), Mask: net.CIDRMask(bits, bits)},
	}
}

func (h *Host) route(f *family) error {
	if err := netlink.RouteReplace(h.localRoute(f)); err != nil {
		return fmt.Errorf("route of %v in table %d: %w", f.addr, h.cfg.Table, err)
	}
	h.routes[f] = true
	if err := netlink.RuleAdd(h.rule(f)); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("routing rule for mark %#x: %w", h.cfg.Mark, err)
	}
	return nil
}

func (h *Host) unroute(f *family) error {
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
	return errors.Join(errs...)
}

// namespacePaths are the namespaces that have a name, and those of processes.
func namespacePaths() []string {
	named, _ := filepath.Glob(filepath.Join(ipNetns, "*"))
	seen := map[string]bool{}
	processes, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, p := range processes {
		if id, err := os.Readlink(p); err == nil && !seen[id] { // "net:[4026531840]"
			seen[id] = true
			named = append(named, p)
		}
	}
	return named
}
