package hostnet

import (
	"fmt"
	"net"
	"strings"
)

// Face is what tells a link from another one of its name, or a namespace from another one of its name.
type Face struct {
	// Boot is the kernel's boot id. Index, Serial and Cookie mean something within that boot.
	Boot string `json:"boot,omitempty"`
	// Index is the link's number in its namespace; whoever makes a link may choose it.
	Index int `json:"index,omitempty"`
	// Serial is the number of the link's directory in sysfs, which the kernel gives to no other one. 0:
	// it could not be read.
	Serial uint64 `json:"serial,omitempty"`
	// Cookie is the namespace's, which the kernel gives to no other one.
	Cookie uint64 `json:"cookie,omitempty"`
	// MAC and Alias outlast the link and the boot: who makes it anew for the same guest sets the same
	// again. MAC is empty unless it was set on purpose, and for this link alone.
	MAC   string `json:"mac,omitempty"`
	Alias string `json:"alias,omitempty"`
}

// same says whether both are of the very same link, or the very same namespace.
func (f Face) same(now Face) bool {
	switch {
	case f.Boot == "" || f.Boot != now.Boot || f.Cookie != now.Cookie:
		return false
	case f.Cookie != 0:
		return true
	case f.Serial != 0 && now.Serial != 0:
		return f.Serial == now.Serial
	}
	return f.Index != 0 && f.Index == now.Index
}

// alike says whether another link has the lasting marks of this one, so that it was made for the same guest.
func (f Face) alike(now Face) bool {
	if f.MAC == "" && f.Alias == "" {
		return false
	}
	return (f.MAC == "" || f.MAC == now.MAC) && (f.Alias == "" || f.Alias == now.Alias)
}

// String is for people.
func (f Face) String() string {
	var parts []string
	if f.Index != 0 {
		parts = append(parts, fmt.Sprint("index ", f.Index))
	}
	if f.Cookie != 0 {
		parts = append(parts, fmt.Sprint("cookie ", f.Cookie))
	}
	if f.MAC != "" {
		parts = append(parts, "MAC "+f.MAC)
	}
	if f.Alias != "" {
		parts = append(parts, fmt.Sprintf("alias %q", f.Alias))
	}
	return strings.Join(parts, ", ")
}

// differs says how now is not f, for people.
func (f Face) differs(now Face) string {
	was := f.String()
	if f.Boot != now.Boot {
		was += " in an earlier boot"
	}
	return fmt.Sprintf("bound to %s; there is now %s", was, now)
}

// isMAC takes the one form in which addresses are shown.
func isMAC(text string) bool {
	hw, err := net.ParseMAC(text)
	return err == nil && len(hw) == 6 && hw.String() == text
}

// ofDomain is the MAC that hypervisors give to the host's end of a guest's link: the guest's own, with
// fe in front, so that a bridge never takes it for its own.
func ofDomain(mac string) string {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return ""
	}
	hw[0] = 0xfe
	return hw.String()
}
