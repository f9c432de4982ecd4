// Package sandbox runs a command in a network namespace of its own, in which 169.254.169.254 and
// fd00:ec2::254 are this process's to answer at, without root and without a set-uid program.
//
// # Who is who
//
// The process that calls [Start] stays where it is and answers. Its child is the warden: this program
// again, as the first process of a PID namespace (and, unless the caller is root, of a user namespace,
// in which it may do what root may). The warden makes the network namespace, hands its listeners to
// the caller, brings the network up, and starts the command without any of its own privileges. When
// the warden ends, the kernel ends all in its PID namespace; it ends with the command, and when its
// connection to the caller breaks. So nothing is left behind, whoever is killed.
//
// The addresses are on the namespace's loopback interface and behind each of its links, so that what binds
// to a link finds them too; a command without a network has a link that leads nowhere. The rest of the network is passed on by
// pasta or slirp4netns, if one of them is installed; it runs inside the warden's PID namespace.
package sandbox

import (
	"errors"
	"net"
	"net/netip"
)

// Network says how the command reaches what is not the metadata service.
type Network string

// The ways to the rest of the network.
const (
	// Auto: pasta, else slirp4netns, else none.
	Auto        Network = "auto"
	Pasta       Network = "pasta"
	Slirp4netns Network = "slirp4netns"
	// None: the loopback interface, and eth0, by which nothing but the metadata service is reached.
	None Network = "none"
)

// Networks are all ways.
func Networks() []Network { return []Network{Auto, Pasta, Slirp4netns, None} }

// Config is what [Start] starts.
type Config struct {
	// Path and Args are the command, as in [os/exec.Cmd]: Args[0] is its name.
	Path string
	Args []string
	Env  []string

	Network Network
	// Serve is given the listener of each address that could be had, before the command starts: if it
	// fails, the command is not started. The listeners close with [Command.Wait].
	Serve func(*net.TCPListener) error
	// Note is told, in one line each, what is not as outside. It is called before Start returns.
	Note func(text string)
}

// ErrUnavailable is of a system that does not let this user make namespaces; the error's text says
// what would.
var ErrUnavailable = errors.New("namespaces are not available")

// ErrNotRun is of a command that is there, but that the system does not execute; [Command.Wait] returns it.
var ErrNotRun = errors.New("cannot be executed")

// Process is who is behind a connection.
type Process struct {
	// PID is its number as seen by the caller of [Start].
	PID int
	// Args is its command line.
	Args []string
}

// The addresses of the metadata service.
var (
	addr4 = netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 169, 254}), 80)
	addr6 = netip.AddrPortFrom(netip.MustParseAddr("fd00:ec2::254"), 80)
)
