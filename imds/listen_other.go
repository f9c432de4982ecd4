//go:build !linux

package imds

import "net"

// Defer makes a listener that [Server.Serve] serves fastest: here, l itself.
func Defer(l *net.TCPListener) (net.Listener, error) { return l, nil }

// DeferWhile is Defer: nothing can be attached here, so nobody's callers come to be others.
func DeferWhile(l *net.TCPListener, _ func() bool) (net.Listener, error) { return l, nil }
