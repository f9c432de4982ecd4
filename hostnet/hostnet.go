// Package hostnet makes a Linux host answer at 169.254.169.254 and fd00:ec2::254 for the virtual
// machines and containers attached to it, and for nobody else.
//
// It knows endpoints, not instances: [Network.Set] takes all of them, makes the host so, and hands
// out one listener for each endpoint and family. A connection of such a listener comes from that
// endpoint, whatever the packets say of themselves.
//
// # How a packet finds its listener
//
// Each attachment has a packet mark of its own. A table of nftables gives it to the packets that come
// for a metadata address, by the interface or port of a bridge they arrive at, and sends them on to
// the attachment's listener. A routing rule for such marks delivers them to this host; nothing else
// does, so the host keeps its own way to 169.254.169.254 (it may be a cloud instance itself). The
// listener is bound to the interface and takes no packet with another mark, and neither do its
// connections: those of an attachment that is gone are dead, even when the next one has the same
// interface and address. The replies leave by the interface they came for.
//
// Listeners sit on free ports and the tables translate port 80, since a web server on port 80 of the
// host, or in a container, must not keep the metadata service out or be kept out by it.
//
// All of that goes by the number of an interface, which another one may have a moment later. So each
// attachment has a socket that the kernel ties to its link, and a connection that is accepted when that
// link has gone is closed ([Listener]).
//
// A namespace gets the addresses on its own loopback interface and a listener inside.
//
// # What the host has to bring
//
// Replies over IPv4 need no route; over IPv6, and to what is behind a guest, the host needs one by the
// guest's interface. Where sources are checked (net.ipv4.conf.*.rp_filter), the host gets a way back to
// guests that is there for their calls of the metadata service only, and src_valid_mark is set on their
// interface, or bridge, while they are attached.
//
// All else that is put into the host carries the package's name, routing table or mark. The tables outlive the
// process, with a guard for each place that was attached and nothing that leads from there: a later process
// takes them over in one step, and [Network.Release] gives a place up. In a namespace it says whose it is, and
// what a living process of another network namespace has there is left alone.
package hostnet

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The addresses at which guests find the metadata service.
var (
	addr4 = netip.AddrFrom4([4]byte{169, 254, 169, 254})
	addr6 = netip.MustParseAddr("fd00:ec2::254")
)

// ErrUnable is of a process that can attach nothing, however the host is.
var ErrUnable = errors.New("this process cannot attach guests")

// ErrBusy is of a network namespace that another process has taken over. That may well be meant: what this one was to
// attach, it attaches once the other has ended.
var ErrBusy = errors.New("another openimds process serves the guests of this host; this one attaches its own once that has ended")

// ErrNotGuarded is of a place that Release was to release and that is not guarded.
var ErrNotGuarded = errors.New("not guarded")

// Defaults of [Config].
const (
	DefaultMark     = 0x69000000
	DefaultTable    = 1692
	DefaultPriority = 169
)

// Config is what a [Network] works with. Serve is required.
type Config struct {
	// Serve is given the listener of an endpoint, once for each family and each time the endpoint is
	// attached anew. It must not wait, nor call the Host. The function it returns ends the serving:
	// it closes the listener and the connections that came from it, and is called once.
	//
	// The listener's own address has another port than guests see.
	Serve func(id string, l *Listener) (stop func())
	// Changed, when set, is told each new status of an endpoint, in order. It must not wait, nor
	// call the Host.
	Changed func(EndpointStatus)
	// Bind, when set, is told what is found at an endpoint that is bound to nothing yet, again and again
	// until a Set says that it is bound to that ([Endpoint.Bound]): so it can be kept safe before anybody
	// is answered. It is also told when lasting marks of what an endpoint is bound to have changed. It
	// must not wait, nor call the Host. Without it an endpoint is bound to what is found, for as long as
	// the Host has it.
	Bind func(id string, found Face)

	// Learn, when set, is told what interfaces the guest of an endpoint has, the primary one first: before Bind and
	// before it is answered as far as that is known then, and again when it has become known, or another. It says
	// nothing of who calls: much of it is in the guest's own hands. It must not wait, nor call the Host.
	Learn func(id string, links []GuestLink)

	// Uplinks, if any, are the interfaces by which the host reaches its own networks: by all others,
	// attached or not, nobody reaches another metadata service through the host.
	Uplinks []string

	// Mark is the first of the 2^24 packet marks that are the Host's; its low 24 bits are zero. So are the
	// numbers of routing tables and nexthops of the same values. Table and Priority are of its routing rule;
	// the two priorities behind that are its own, too. They matter only where another program on the host
	// uses the same. 0: the defaults.
	Mark            uint32
	Table, Priority int

	Log *slog.Logger
}

// check fills in the defaults.
func (c *Config) check() error {
	if c.Serve == nil {
		return errors.New("hostnet: Config.Serve is missing")
	}
	if c.Mark == 0 {
		c.Mark = DefaultMark
	}
	if c.Mark&indexMask != 0 {
		return fmt.Errorf("hostnet: mark %#x: the low 24 bits must be zero", c.Mark)
	}
	if c.Table == 0 {
		c.Table = DefaultTable
	}
	if c.Priority == 0 {
		c.Priority = DefaultPriority
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// A mark is the Host's own in its high byte, and tells the attachment in the rest.
const indexMask = 0x00ffffff

// Endpoint is a place that guests call from: an interface of the host, or a network namespace.
type Endpoint struct {
	// ID is the caller's name for it. It is unique among the endpoints of one Set.
	ID string

	// Interface is the host's end of the guest's link: a tap, a veth, a port of a Linux bridge, a
	// bridge. It need not exist yet. By this name the link is found at first; from then on the endpoint
	// is bound to that link, whatever it is called, and to no other one of the name unless it has the
	// same lasting marks.
	Interface string
	// Sources, with Interface: only callers with these addresses. This tells callers apart by what
	// they say of themselves, so it is for networks that stop spoofing.
	Sources []netip.Prefix

	// MAC and Alias, with Interface: only a link with this address, or that of a hypervisor's tap for a
	// guest with this address, and with this alias (ifalias). Every such link of that name is the same. A pair
	// whose other end has the address fits too when it is found first; it is bound as if there were no address.
	MAC, Alias string

	// Netns is a network namespace: a name as of ip-netns(8), or a path. It need not exist yet. From
	// when it is found, the endpoint is bound to it.
	Netns string
	// PID is a process whose network namespace it is. It is looked up once, when the endpoint is new
	// to the Host; a PID kept from before a restart may be another process's by now.
	PID int

	// Bound is what the endpoint was bound to, by this Host or an earlier one. Nil: to nothing yet.
	Bound *Face
	// Learned is what was learned of the guest, by this Host or an earlier one ([Config.Learn]): on a bridge, where
	// others can speak for it, nothing that is said later takes its place.
	Learned []GuestLink
	// ByName takes whatever has the name instead: only where names are given with care, and nobody gets
	// that of another guest.
	ByName bool

	// IPv6 says whether fd00:ec2::254 answers too.
	IPv6 bool
	// Once ends the endpoint when its interface or namespace goes, instead of waiting for another of
	// that name. With PID it is always so.
	Once bool
}

// Validate says what is wrong with an endpoint on its own.
func (e Endpoint) Validate() error {
	fault := func(text string) error { return fmt.Errorf("endpoint %q: %s", e.ID, text) }
	places := 0
	for _, given := range []bool{e.Interface != "", e.Netns != "", e.PID != 0} {
		if given {
			places++
		}
	}
	switch {
	case e.ID == "":
		return fault("it has no ID")
	case places != 1:
		return fault("give one of interface, namespace and process")
	case e.PID < 0:
		return fault(fmt.Sprintf("%d is not a process", e.PID))
	case len(e.Interface) > 15 || strings.ContainsAny(e.Interface, "/ \t\n\x00"):
		return fault(fmt.Sprintf("%q cannot be the name of an interface", e.Interface))
	case e.Interface == "lo":
		return fault("lo carries the host's own traffic; attach a namespace, or use --imds-listen for callers on the host")
	case strings.ContainsRune(e.Netns, 0) || e.Netns == "." || e.Netns == "..":
		return fault(fmt.Sprintf("%q cannot be the name of a namespace", e.Netns))
	case len(e.Sources) > 0 && e.Interface == "":
		return fault("source addresses tell the callers of an interface apart; a namespace has one caller")
	case (e.MAC != "" || e.Alias != "") && e.Interface == "":
		return fault("an address and an alias are marks of an interface")
	case e.ByName && (e.MAC != "" || e.Alias != "" || e.PID != 0):
		return fault("what goes by its name is known by nothing else")
	case e.MAC != "" && !isMAC(e.MAC):
		return fault(fmt.Sprintf("%q is not a MAC address in the form 52:54:00:12:34:56", e.MAC))
	}
	for i, p := range e.Sources {
		if !p.IsValid() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
			return fault(fmt.Sprintf("source %v is not an address or prefix of IPv4 or IPv6", p))
		}
		if slices.ContainsFunc(e.Sources[:i], p.Overlaps) {
			return fault(fmt.Sprintf("source %v overlaps another one", p))
		}
	}
	return nil
}

// place is where the endpoint is, for people.
func (e Endpoint) place() string {
	switch {
	case e.Interface != "":
		return "interface " + e.Interface
	case e.Netns != "":
		return "namespace " + e.Netns
	default:
		return fmt.Sprintf("process %d", e.PID)
	}
}

// Listener is where the guests of one endpoint connect.
type Listener struct {
	*net.TCPListener
	there func() bool // nil: always
}

// There says whether what the listener was made for is still there. A connection that was accepted when
// it is not may be of whoever came next, and must be closed unheard. It never waits.
func (l *Listener) There() bool { return l.there == nil || l.there() }

// Accept accepts the connections of the endpoint, and closes others.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.TCPListener.Accept()
		if err != nil || l.There() {
			return c, err
		}
		_ = c.Close()
	}
}

// State is how far an endpoint is.
type State string

// The states of an endpoint.
const (
	// Attached: its guests are answered, at least over IPv4; Reason says what is amiss if anything.
	Attached State = "attached"
	// Waiting: its interface or namespace does not exist, or is another one of the name (Found).
	Waiting State = "waiting"
	// Failed: Reason says why. It is tried again.
	Failed State = "failed"
	// Gone: an endpoint that was to be attached once, and has been.
	Gone State = "gone"
)

// EndpointStatus is what is true of an endpoint.
type EndpointStatus struct {
	Endpoint
	State  State
	Reason string
	// Found, of one that waits, is what has the name now and is not what the endpoint is bound to.
	Found *Face
	// IPv4 and IPv6Answers say which of the two addresses answers.
	IPv4, IPv6Answers bool
	// Bridge is the bridge that the interface is a port of, if it is.
	Bridge string
	// Since is when State, Reason or what answers last changed.
	Since time.Time
}

// Guarded is a place that was attached, and from where nobody reaches another metadata service until it is
// attached again, released or gone.
type Guarded struct {
	Interface string // one of the two
	Netns     string // a path
}

// Name is what Release knows it by.
func (g Guarded) Name() string { return g.Interface + g.Netns }
