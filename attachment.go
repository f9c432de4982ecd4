package openimds

import (
	"cmp"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Attachment says where on a host an instance's guest calls from: an interface, a network namespace or
// a process. It decides who the caller is; nothing in a request does.
type Attachment struct {
	Instance string `json:"instance"`
	// Host is the name of the host; see [LocalHost].
	Host string `json:"host,omitempty"`
	// From are the hosts that may still answer for the instance, which was moved away from them: until they have let
	// go, or are gone, Host does not begin.
	From []string `json:"from,omitempty"`
	// Interface is the host's end of the guest's link: a tap, a veth, a port of a bridge.
	Interface string `json:"interface,omitempty"`
	// Sources, with Interface, are the only addresses whose callers are the instance's. This is only
	// for networks that stop spoofing.
	Sources []netip.Prefix `json:"sources,omitempty"`
	// Netns is a network namespace: a name as of ip-netns(8), or an absolute path.
	Netns string `json:"netns,omitempty"`
	// PID is a process whose network namespace it is. It must have been running at CreatedAt: a
	// later process of that number is another guest.
	PID int `json:"pid,omitempty"`
	// MAC and Alias, with Interface: only a link with this address, with that of a hypervisor's tap for a guest that
	// has it, or, when it is found first, of a pair whose other end has it; and with this alias. MAC is the guest's,
	// and so it is told, unless it is that of the host's own end.
	MAC   string `json:"mac,omitempty"`
	Alias string `json:"ifAlias,omitempty"`
	// ByName takes whatever has the name of the interface or namespace, whoever made it.
	ByName bool `json:"byName,omitempty"`
	// GuestMAC and PrivateIPs are what the guest is told of its primary interface, whatever its link shows: its MAC
	// address and its own addresses, with the length of their subnet's prefix if that is known.
	GuestMAC   string         `json:"guestMac,omitempty"`
	PrivateIPs []netip.Prefix `json:"privateIps,omitempty"`
	// Learned are the guest's interfaces as the host has found them, the primary one first; see [Attachment.Links].
	Learned []GuestLink `json:"learned,omitempty"`
	// Bound is what was found there first, which it is bound to. Nil: nothing yet, or it goes by name.
	Bound     *Face     `json:"bound,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
}

// Validate refuses an attachment that cannot be carried out, whatever the host.
func (a *Attachment) Validate() error {
	places := 0
	for _, given := range []bool{a.Interface != "", a.Netns != "", a.PID != 0} {
		if given {
			places++
		}
	}
	if err := ValidateHost(a.Host); err != nil {
		return err
	}
	switch {
	case places != 1:
		return Errorf(InvalidInput, Conflicting, "An attachment names one of %s, %s and %s", FieldInterface, FieldNetns, FieldPID)
	case a.Interface != "" && ValidateInterface(a.Interface) != nil:
		return ValidateInterface(a.Interface)
	case a.Interface == "lo":
		return Errorf(InvalidInput, Reserved, "The interface lo is the host's own; callers on the host come by --imds-listen")
	case a.Netns != "" && !netnsForm(a.Netns):
		return Errorf(InvalidInput, Malformed, "%.80q is neither the name of a network namespace nor an absolute path", a.Netns)
	case a.PID < 0 || a.PID > 1<<22: // the kernel's own limit (proc(5), pid_max)
		return Errorf(InvalidInput, OutOfRange, "%d cannot be the id of a process", a.PID)
	case len(a.Sources) > 0 && a.Interface == "":
		return Errorf(InvalidInput, Conflicting, "Sources tell the callers of an interface apart; a namespace has one caller")
	case a.Alias != "" && a.Interface == "":
		return Errorf(InvalidInput, Conflicting, "%s is a mark of an interface; a namespace or process has none", FieldAlias)
	case a.ByName && (a.MAC != "" && a.Interface != "" || a.Alias != "" || a.PID != 0):
		return Errorf(InvalidInput, Conflicting, "%s takes whatever has the name of an interface or namespace; leave out %s, %s and %s", FieldByName, FieldMAC, FieldAlias, FieldPID)
	case a.MAC != "" && a.GuestMAC != "" && a.Interface == "":
		return Errorf(InvalidInput, Conflicting, "%s of a namespace or process is that of its guest; give it once", FieldMAC)
	case a.MAC != "" && !macForm(a.MAC):
		return Errorf(InvalidInput, Malformed, "%.40q is not a MAC address of the form 52:54:00:12:34:56", a.MAC)
	case len(a.Alias) > 255 || strings.ContainsFunc(a.Alias, unicode.IsControl): // linux/if.h: IFALIASZ
		return Errorf(InvalidInput, Malformed, "%.80q cannot be the alias of an interface", a.Alias)
	case len(a.Sources) > 64:
		return Errorf(InvalidInput, TooMany, "An attachment has at most 64 sources")
	}
	if err := cmp.Or(validateGuestMAC(a.GuestMAC), validatePrivateIPs(a.PrivateIPs), ValidateGuestLinks(a.Learned)); err != nil {
		return err
	}
	for i, p := range a.Sources {
		if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
			return Errorf(InvalidInput, Malformed, "The source %v is not an address or prefix of IPv4 or IPv6", p)
		}
		if slices.ContainsFunc(a.Sources[:i], p.Overlaps) {
			return Errorf(InvalidInput, Duplicate, "The source %v overlaps another one", p)
		}
	}
	return nil
}

// LocalHost is the name of a host that was given none. It is not what the machine calls itself: that changes
// with a network or an administrator's taste, and all attachments would be another host's then.
const LocalHost = "local"

var hostForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$`)

// ValidateHost refuses what cannot be the name of a host; none at all is the host's that is asked.
func ValidateHost(name string) error {
	if name != "" && !hostForm.MatchString(name) {
		return Errorf(InvalidInput, Malformed, "%.80q cannot be the name of a host: it is up to 253 letters, digits, dots and dashes", name)
	}
	return nil
}

// ValidateInterface refuses what the kernel would not have as the name of an interface.
func ValidateInterface(name string) error {
	if name == "" || len(name) > 15 || strings.ContainsAny(name, "/: \t\r\n\x00") || name == "." || name == ".." {
		return Errorf(InvalidInput, Malformed, "%.40q cannot be the name of an interface", name)
	}
	return nil
}

func netnsForm(name string) bool {
	if len(name) > 4096 || strings.ContainsAny(name, "\x00\n\r") {
		return false
	}
	if strings.Contains(name, "/") {
		return filepath.IsAbs(name) && filepath.Clean(name) == name
	}
	return name != "." && name != ".." && len(name) <= 255
}

func macForm(text string) bool {
	hw, err := net.ParseMAC(text)
	return err == nil && len(hw) == 6 && hw.String() == text
}

// Face is what a host knows a link or a namespace by, so that the next one of its name is not taken for it.
type Face struct {
	// Boot is the boot in which the numbers mean something: the index of the link, the kernel's own
	// number of it, and the cookie of the namespace.
	Boot   string `json:"boot,omitempty"`
	Index  int    `json:"index,omitempty"`
	Serial uint64 `json:"serial,omitempty"`
	Cookie uint64 `json:"cookie,omitempty"`
	// MAC and Alias last: whoever makes the link anew for the same guest sets the same.
	MAC   string `json:"mac,omitempty"`
	Alias string `json:"alias,omitempty"`
}

// AttachmentUnknown is the state of an attachment whose host is not there. The others are the host's own words.
const AttachmentUnknown = "unknown"

// AttachmentStatus is how far a host is with an attachment, the one that was made at CreatedAt.
type AttachmentStatus struct {
	Instance  string    `json:"instance"`
	CreatedAt time.Time `json:"createdAt"`
	State     string    `json:"state"`
	Reason    string    `json:"reason,omitempty"`
	// Found is what is at its place and is not what it is bound to; nil: nothing else is.
	Found *Face     `json:"found,omitempty"`
	At    time.Time `json:"at"`
}

// Binding says that an attachment, the one that was made at CreatedAt, is bound to a face, and what its guest has.
type Binding struct {
	Instance  string
	CreatedAt time.Time
	// Face is zero where only Links are told.
	Face Face
	// Links are the interfaces of the guest, as [Attachment.Learned]; nil: nothing is known of them.
	Links []GuestLink
}

// GuardedPlace is a place of a host where an instance was attached and none is now. From there nobody
// reaches another metadata service through the host: its credentials are not the guest's.
type GuardedPlace struct {
	Host      string
	Interface string
	Netns     string // a path; one of the two
}

// Name is by what [control.Service.ReleasePlaces] is told of the place.
func (p GuardedPlace) Name() string { return cmp.Or(p.Interface, p.Netns) }
