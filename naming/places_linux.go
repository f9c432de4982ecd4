package naming

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/openimds/openimds/socketowner"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// mostPlaces is how many namespaces one listener's callers are looked for in, as of a bridge with many ports.
const mostPlaces = 16

// namespaces are those in which the callers may be: the listener's own, or those that its link leads to.
func (w *watch) namespaces() []*socketowner.Finder {
	link := ""
	if w.link != nil {
		link = w.link()
	}
	if link == "" {
		if w.netns == nil {
			f, err := socketowner.New()
			if err != nil {
				w.namer.log.Debug("callers are not named", "error", err)
				return nil
			}
			return []*socketowner.Finder{f}
		}
		again, err := unix.Dup(int(w.netns.Fd()))
		if err != nil {
			return nil
		}
		unix.CloseOnExec(again)
		return []*socketowner.Finder{socketowner.NewIn(os.NewFile(uintptr(again), "network namespace"))}
	}
	var places []*socketowner.Finder
	for _, there := range w.behind(link) {
		places = append(places, socketowner.NewIn(there))
	}
	return places
}

// behind are the namespaces that a link leads to, the nearest first: those of its other ends, and those that these lead
// on to as routers do. Whoever has the same address and port in two of them is found in the nearer one.
func (w *watch) behind(link string) []*os.File {
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil
	}
	defer here.Close()
	known := map[string]bool{}
	w.ownNamespaces(known) // which every guest's link leads back to
	near := namespacesOf(here, peers(here, link), known, mostPlaces)
	found := near
	for _, router := range near {
		if len(found) == mostPlaces {
			break
		}
		there, err := netlink.NewHandleAt(netns.NsHandle(router.Fd()), unix.NETLINK_ROUTE)
		if err != nil {
			continue
		}
		found = append(found, namespacesOf(there, onward(there), known, mostPlaces-len(found))...)
		there.Close()
	}
	return found
}

// ownNamespaces notes the one of this process and the listener's.
func (w *watch) ownNamespaces(known map[string]bool) {
	own := []string{"/proc/self/ns/net"}
	if w.netns != nil {
		own = append(own, fmt.Sprintf("/proc/self/fd/%d", w.netns.Fd()))
	}
	for _, path := range own {
		if key, ok := namespaceKey(path); ok {
			known[key] = true
		}
	}
}

// namespaceKey tells a namespace from others, by whatever path it is found.
func namespaceKey(path string) (key string, ok bool) {
	var s unix.Stat_t
	if unix.Stat(path, &s) != nil {
		return "", false
	}
	return fmt.Sprintf("%d:%d", s.Dev, s.Ino), true
}

// peers are the namespaces of the other ends of a link, or of the ports of a bridge, by the numbers that the namespace of
// the handle has for them. The other end of a virtual machine's tap is in none.
func peers(h *netlink.Handle, name string) (ids []int) {
	link, err := h.LinkByName(name)
	if err != nil {
		return nil
	}
	if id := link.Attrs().NetNsID; link.Type() == "veth" && id >= 0 {
		return []int{id}
	}
	if link.Type() != "bridge" {
		return nil
	}
	return ofLinks(h, func(l netlink.Link) bool { return l.Attrs().MasterIndex == link.Attrs().Index })
}

// onward are the namespaces that all links of a namespace lead to.
func onward(h *netlink.Handle) []int {
	return ofLinks(h, func(netlink.Link) bool { return true })
}

// ofLinks are the namespaces of the other ends of some links.
func ofLinks(h *netlink.Handle, which func(netlink.Link) bool) (ids []int) {
	all, err := h.LinkList()
	if err != nil {
		return nil
	}
	for _, l := range all {
		if id := l.Attrs().NetNsID; l.Type() == "veth" && id >= 0 && which(l) {
			ids = append(ids, id)
		}
	}
	return ids
}

// namespacesOf opens the namespaces that have these numbers in the handle's: those of processes, and those that have
// names. None is opened that is known already; then they are.
func namespacesOf(h *netlink.Handle, ids []int, known map[string]bool, most int) (found []*os.File) {
	if len(ids) == 0 {
		return nil
	}
	seen := map[string]bool{}
	named, _ := filepath.Glob("/run/netns/*")
	ofProcesses, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, path := range append(named, ofProcesses...) {
		if len(found) == min(most, len(ids)) {
			break
		}
		key, ok := namespaceKey(path) // most processes are in a few: each is opened once
		if !ok || seen[key] || known[key] {
			continue
		}
		seen[key] = true
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if id, err := h.GetNetNsIdByFd(int(f.Fd())); err == nil && slices.Contains(ids, id) {
			known[key] = true
			found = append(found, f)
			continue
		}
		_ = f.Close()
	}
	return found
}
