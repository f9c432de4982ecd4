package imds

import (
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/openimds/openimds/usage"
)

// acceptWaiting accepts connections one by one, each with a goroutine of its own. It serves where
// there is no faster way.
func (s *Server) acceptWaiting(l net.Listener, g *Guest, with around) error {
	for pause := time.Duration(0); ; {
		c, err := l.Accept()
		if err != nil {
			if !passing(err) {
				return err
			}
			pause = s.pauseAccepting(pause, err)
			continue
		}
		pause = 0
		if why := s.keepsOut(c, g, with); why != usage.NotRefused {
			_ = c.Close()
			g.closed(why, sourceOf(c))
			continue
		}
		s.serving.Add(1)
		w := workspaces.Get().(*workspace)
		w.listener, w.era = with.listener, g.era.Load()
		w.watch(with, func() netip.AddrPort { return addrPortOf(c.LocalAddr()) })
		go s.converse(c, g, 0, w)
	}
}

// keepsOut says why a connection is closed before anything of it is read. Unless it is, it has its place among the
// guest's, and among those that wait.
func (s *Server) keepsOut(c net.Conn, g *Guest, with around) usage.Refusal {
	switch {
	case with.turnsAway(c):
		return usage.ClosedCaller
	case !g.enter():
		return usage.ClosedConnections
	case !s.wait(g):
		g.leave()
		return usage.ClosedWaiting
	}
	return usage.NotRefused
}

// passing says whether an accept error can end by itself: the process or the system is out of
// descriptors or memory, or a peer was gone before it was accepted.
func passing(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	//lint:ignore SA1019 there is no other word for it
	return ok && ne.Temporary()
}

// pauseAccepting waits a little longer at each failure in a row, up to a tenth of a second.
func (s *Server) pauseAccepting(pause time.Duration, err error) time.Duration {
	pause = min(max(2*pause, 5*time.Millisecond), 100*time.Millisecond)
	if s.refusals.allows(s.cfg.Now()) { // while it lasts, each listener tries ten times a second
		s.refusals.tell(func() {
			s.cfg.Log.Warn("cannot accept a connection; trying again", "error", err, "pause", pause)
		})
	}
	time.Sleep(pause)
	return pause
}

// wait admits a connection of the guest to those that wait, so that guests do not take the descriptors
// of each other's, of the control API and of the program's own files.
func (s *Server) wait(g *Guest) bool {
	n, limit := s.waiting.Add(1), int64(s.cfg.Waiting)
	if limit > 0 && (n > limit || g.active.Load() > max(limit/2, 1)) {
		s.waiting.Add(-1)
		return false
	}
	return true
}

func (s *Server) waited() { s.waiting.Add(-1) }
