//go:build !linux

package imds

import "net"

func (s *Server) accept(l net.Listener, g *Guest, observe func(Observation)) error {
	return s.acceptWaiting(l, g, observe)
}
