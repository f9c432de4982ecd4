package imds

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Listen opens the listeners of one address, as [ListenTCP] does, so that [Server.Serve] serves them
// fastest.
func Listen(ctx context.Context, addr string) ([]net.Listener, error) {
	plain, err := ListenTCP(ctx, addr)
	if err != nil {
		return nil, err
	}
	var open []net.Listener
	for _, l := range plain {
		deferred, failed := Defer(l)
		if failed != nil {
			err = failed
			continue
		}
		open = append(open, deferred)
	}
	if err != nil {
		for _, l := range open {
			_ = l.Close()
		}
		return nil, err
	}
	return open, nil
}

// ListenTCP opens the listeners of one address "host:port". An address is of the family that it is
// written in: 0.0.0.0 does not open [::]. One of no family ("") gets one listener for each, since a
// socket of both families would hide how a connection arrived. Port 0 asks for a free one.
func ListenTCP(ctx context.Context, addr string) ([]*net.TCPListener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("listen address %q is not of the form host:port", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n > 65535 {
		return nil, fmt.Errorf("listen address %q: port %q is not a number from 0 to 65535", addr, port)
	}
	networks := []string{"tcp4", "tcp6"}
	if ip, err := netip.ParseAddr(host); err == nil {
		networks = networks[:1]
		if !ip.Unmap().Is4() {
			networks[0] = "tcp6"
		}
	} else if host != "" {
		networks = []string{"tcp"} // a name: the resolver's first address
	}
	// No keep-alive: it costs timers on each connection and none lives longer than seconds.
	cfg := net.ListenConfig{KeepAlive: -1}
	var open []*net.TCPListener
	for _, network := range networks {
		l, err := cfg.Listen(ctx, network, net.JoinHostPort(host, port))
		if err != nil {
			if network == "tcp6" && len(open) > 0 {
				break // a machine without IPv6
			}
			for _, l := range open {
				_ = l.Close()
			}
			return nil, err
		}
		open = append(open, l.(*net.TCPListener))
		port = strconv.Itoa(l.Addr().(*net.TCPAddr).Port) // both families on the same port
	}
	return open, nil
}
