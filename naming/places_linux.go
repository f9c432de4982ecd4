package naming

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/openimds/openimds/socketowner"
	"github.com/vishvananda/netlink"
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
	for _, id := range peers(link) {
		if len(places) == mostPlaces {
			break
		}
		if netns := namespaceByID(id); netns != nil {
			places = append(places, socketowner.NewIn(netns))
		}
	}
	return places
}

// peers are the namespaces of the other ends of a link, or of the ports of a bridge, by the numbers that this process's
// namespace has for them. The other end of a virtual machine's tap is in none.
func peers(name string) (ids []int) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil
	}
	if id := link.Attrs().NetNsID; link.Type() == "veth" && id >= 0 {
		return []int{id}
	}
	if link.Type() != "bridge" {
		return nil
	}
	all, err := netlink.LinkList()
	if err != nil {
		return nil
	}
	for _, port := range all {
		if id := port.Attrs().NetNsID; port.Attrs().MasterIndex == link.Attrs().Index && port.Type() == "veth" && id >= 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// namespaceByID opens the namespace that has that number here: that of a process, or one that has a name.
func namespaceByID(id int) *os.File {
	seen := map[string]bool{}
	named, _ := filepath.Glob("/run/netns/*")
	ofProcesses, _ := filepath.Glob("/proc/[0-9]*/ns/net")
	for _, path := range append(named, ofProcesses...) {
		if strings.HasPrefix(path, "/proc/") { // most processes are in a few: each is opened once
			link, err := os.Readlink(path)
			if err != nil || seen[link] {
				continue
			}
			seen[link] = true
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if found, err := netlink.GetNetNsIdByFd(int(f.Fd())); err == nil && found == id {
			return f
		}
		_ = f.Close()
	}
	return nil
}
