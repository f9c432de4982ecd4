//go:build !linux

package imds

import "net"

func (s *Server) accept(l net.Listener, g *Guest, with around) error {
	return s.acceptWaiting(l, g, with)
}
