package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A host that forwards, and has a way to a metadata service of its own, would take a guest there as soon as
// nobody answers it here: its credentials for the guest. So the tables outlive the process, however it
// ends, with a guard for each place that was attached: what comes from there for a metadata address goes
// to a listener of this package or nowhere. A guard ends with its interface, or when an operator says so
// ([Network.Release]).

// guard is a place by its index, or by the name under which the next interface may come.
type guard struct {
	ifindex int
	name    string
}

// elements are the guard's in the tables. It has them in both families, since an interface may become a
// port of a bridge, or cease to be one, at any time.
func (g guard) elements() []element {
	set, key := interfaces, string(native(uint32(g.ifindex)))
	if g.ifindex == 0 {
		set, key = names, nameKey(g.name)
	}
	return []element{
		{family: nftables.TableFamilyINet, set: set, key: key},
		{family: nftables.TableFamilyBridge, set: set, key: key},
	}
}

// nameKey is an interface's name as packets carry it.
func nameKey(name string) string {
	key := make([]byte, unix.IFNAMSIZ)
	copy(key, name)
	return string(key)
}

// uplinkElements are those of the name of an uplink.
func uplinkElements(name string) []element {
	return []element{
		{family: nftables.TableFamilyINet, set: uplinks, key: nameKey(name)},
		{family: nftables.TableFamilyBridge, set: uplinks, key: nameKey(name)},
	}
}

// adopt takes over the guards of an earlier process. It is done once, before the tables are made anew.
func (h *Network) adopt() error {
	if h.adopted {
		return nil
	}
	for _, family := range []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyBridge} {
		table := &nftables.Table{Name: tableName, Family: family}
		for _, set := range []string{interfaces, names} {
			there, err := elementsOf(table, set)
			if err != nil && !lacking(err) {
				return fmt.Errorf("what an earlier process left: %w", err)
			}
			h.ports = h.ports || family == nftables.TableFamilyBridge && len(there) > 0
			for _, e := range there {
				switch {
				case set == names && len(e.key) == unix.IFNAMSIZ:
					h.watchOver(guard{name: unix.ByteSliceToString([]byte(e.key))})
				case set == interfaces && len(e.key) == 4:
					h.watchOver(guard{ifindex: int(binary.NativeEndian.Uint32([]byte(e.key)))})
				}
			}
		}
	}
	if err := h.adoptBack(); err != nil {
		return fmt.Errorf("what an earlier process left: %w", err)
	}
	for _, f := range families { // its routing is removed, if this Host has no use for it
		h.routes[f] = true
	}
	h.adopted = true
	return nil
}

func (h *Network) watchOver(g guard) {
	if h.guards[g] != nil || g == (guard{}) {
		return
	}
	h.guards[g] = g.elements()
	h.ledger.change(nil, h.guards[g])
}

func (h *Network) giveUp(g guard) {
	h.ledger.change(h.guards[g], nil)
	delete(h.guards, g)
}

// guardAll brings the guards up to date with the seats and the interfaces there are.
func (h *Network) guardAll() {
	held := h.held()
	for g := range held {
		h.watchOver(g)
	}
	for g := range h.guards {
		// The index of an interface is not given out again while the host runs.
		_, there := h.links.byIndex[g.ifindex]
		if g.ifindex == 0 {
			_, there = h.links.byName[g.name]
		}
		if !there && !held[g] && !h.closing {
			h.giveUp(g)
		}
		h.ports = h.ports || there && g.ifindex != 0 && h.links.byIndex[h.links.byIndex[g.ifindex].master].kind == "bridge"
	}
}

// held are the guards that seats have: of interfaces, by their names before they come, and of the host's
// ends of the links of namespaces. Whoever is root in one can remove all that is inside.
func (h *Network) held() map[guard]bool {
	held := make(map[guard]bool, 2*len(h.seats))
	namespaces := map[int]bool{}
	for _, s := range h.seats {
		if s.Interface != "" {
			held[guard{name: s.Interface}] = true
		}
		switch {
		case s.at == nil:
		case s.at.ns == nil:
			held[guard{ifindex: s.at.where.ifindex}] = true
		case s.at.netnsid >= 0:
			namespaces[s.at.netnsid] = true
		}
	}
	if len(namespaces) > 0 {
		for _, l := range h.links.byIndex {
			if l.netnsid >= 0 && namespaces[l.netnsid] {
				held[guard{ifindex: l.index}] = true
			}
		}
	}
	return held
}

// Guarded lists the places that are guarded and not attached, in the order of their names.
func (h *Network) Guarded() []Guarded {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.guarded()
}

func (h *Network) guarded() []Guarded {
	held := h.held()
	seen := map[Guarded]bool{}
	for g := range h.guards {
		if held[g] {
			continue
		}
		name := g.name
		if g.ifindex != 0 {
			name = h.links.byIndex[g.ifindex].name
		}
		if name != "" {
			seen[Guarded{Interface: name}] = true
		}
	}
	for _, path := range h.left {
		seen[Guarded{Netns: path}] = true
	}
	out := make([]Guarded, 0, len(seen))
	for g := range seen {
		out = append(out, g)
	}
	slices.SortFunc(out, func(a, b Guarded) int { return slices.Compare([]string{a.Name()}, []string{b.Name()}) })
	return out
}

// Release gives up the guards of these places, or of all with no names. From there the host's own way to
// the metadata addresses is open again, if it has one. Those that are attached stay as they are. It returns
// the places that were released.
func (h *Network) Release(places ...string) ([]Guarded, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.guarded()
	if err := h.release(places); err != nil {
		return nil, err
	}
	after := h.guarded()
	return slices.DeleteFunc(before, func(g Guarded) bool { return slices.Contains(after, g) }), nil
}

func (h *Network) release(places []string) error {
	if h.closed {
		return errors.New("hostnet: Release after Close")
	}
	if err := h.take(); err != nil {
		return err
	}
	h.given = true
	if !h.following {
		if err := h.links.list(); err != nil {
			return err
		}
	}
	if err := h.adopt(); err != nil {
		return err
	}
	guarded := h.guarded()
	var errs []error
	for _, place := range places {
		if !slices.ContainsFunc(guarded, func(g Guarded) bool { return g.Name() == place }) {
			errs = append(errs, fmt.Errorf("%w: %q", ErrNotGuarded, place))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	wanted := func(name string) bool { return len(places) == 0 || slices.Contains(places, name) }
	held := h.held()
	for g := range h.guards {
		name := g.name
		if g.ifindex != 0 {
			name = h.links.byIndex[g.ifindex].name
		}
		if !held[g] && wanted(name) {
			h.giveUp(g)
		}
	}
	for id, path := range h.left {
		if wanted(path) {
			errs = append(errs, h.releaseNamespace(id, path))
		}
	}
	_ = h.reconcile(nil) // what it says of endpoints has no part in this
	return errors.Join(append(errs, h.installed)...)
}

// releaseNamespace removes what is inside a namespace, unless another one has come to be at its path.
func (h *Network) releaseNamespace(id inode, path string) error {
	ns, err := openPath(path)
	if errors.Is(err, errAbsent) {
		delete(h.left, id)
		return nil
	}
	if err != nil {
		return fmt.Errorf("namespace %s: %w", path, err)
	}
	defer ns.close()
	if ns.id == id {
		ours := func(c *claim) bool { return c.free(h.owner(), 0) }
		if err := h.visitor.in(ns.file, func() error { return vacate(ours) }); err != nil {
			return fmt.Errorf("namespace %s: %w", path, err)
		}
		if nsid := netnsid(ns.file); nsid >= 0 {
			for _, l := range h.links.byIndex {
				if g := (guard{ifindex: l.index}); l.netnsid == nsid && h.guards[g] != nil {
					h.giveUp(g)
				}
			}
		}
	}
	delete(h.left, id)
	return nil
}
