package runner

import (
	"net"

	"github.com/openimds/openimds/handover"
)

// remoteInstance is an instance of a running server.
type remoteInstance struct{ offers *handover.Offers }

func (r *Runner) openRemote() (home, error) {
	observer := handover.Observer{Gone: func() { r.cfg.Warn("the server ended: the metadata service is gone") }}
	if r.seen.wanted {
		observer.Arrived, observer.Seen = r.seen.arrived, r.seen.see
	}
	return remoteInstance{handover.NewOffers(r.cfg.DataDir, r.cfg.Instance, observer)}, nil
}

// serve implements [home].
func (r remoteInstance) serve(l *net.TCPListener) error { return r.offers.Offer(l) }

// told implements [home].
func (r remoteInstance) told() (map[string]int, error) { return r.offers.Told() }

func (r remoteInstance) close() { r.offers.Close() }
