// Package trace tells which processes of a machine call the metadata service, and how: by IMDSv1, by IMDSv2, or
// for a token. It looks on from the kernel, at an instance of AWS's as well as at a host of containers,
// knows nothing of who answers, and neither delays nor changes what is sent.
//
// Two small eBPF programs, which are assembled here, tell who connects to one of the addresses, with the
// command line that the process has at that moment; two more tell what is sent there and what comes back. All
// is joined by the socket's cookie. Where the kernel does not let programs in, a packet socket and sock_diag take
// their place, which see this network namespace alone and miss those who end at once.
//
// Everything is bounded. What was not seen is counted and told ([Gap]): it is never taken for nobody.
package trace

import (
	"errors"
	"net/netip"
	"time"
)

// Config says what is done with what is seen. The functions are called one at a time, and may take their time:
// what comes in meanwhile waits, and is counted where there is no more room.
type Config struct {
	// Call takes each call; it must be set.
	Call func(Call)
	// Gap takes what was not seen; nil: nobody is told.
	Gap func(Gap)
	// Note takes a line for people: what is watched and how, what changes in that; nil: nobody is told.
	Note func(string)
	// Ready is called when calls are seen from now on; nil: nobody is told.
	Ready func()
	// MaxCPU is the most CPU time that this process should take, as a share of one core (0.05: 5 %), on an average of
	// ten seconds. Above it only a sample of the connections is looked at. 0: as much as is needed.
	MaxCPU float64
	// Packets has a packet socket used although eBPF could be.
	Packets bool
	// Server has only what may be the calls of one server looked at, from their beginning on; nil: every call of the
	// machine. Nothing takes the place of eBPF then: where that cannot be used, Run returns an error.
	Server *Server
	// Last is how long the naming of what was seen before the end may take after it. What is not named by then is told
	// with what is known of it.
	Last time.Duration
}

// Server says which calls may be one server's. A machine may have thousands of others a second, which shall cost it
// nothing: they are left before anything of them is told or looked up.
type Server struct {
	// Listeners are where it answers in this process's network namespace besides the services' own addresses, as on a
	// laptop's loopback. The unspecified address is any. Only the first 16 are looked at.
	Listeners []netip.AddrPort
	// May says whether the calls out of a network namespace to the services' addresses may be its own, by the
	// namespace's cookie. It is asked as a connection begins, and must not wait. What it says no to is left in the kernel
	// from then on, and asked again once a second.
	May func(netns uint64) bool
}

// ErrNotAllowed is of a process that may not look on.
var ErrNotAllowed = errors.New("looking on takes the capabilities CAP_BPF and CAP_NET_ADMIN (CAP_NET_RAW for the packet socket alone): run it as root")

// ErrUnsupported is of a system without what it takes.
var ErrUnsupported = errors.New("only Linux can tell which process calls")

// Waits of the loop that reads events.
const (
	// batch is how long what need not be looked at at once may wait in the kernel.
	batch = 50 * time.Millisecond
	// mostFinished is how many calls may wait to be named and told.
	mostFinished = 8192
)

func (c Config) note(text string) {
	if c.Note != nil {
		c.Note(text)
	}
}
