package server

import (
	"log/slog"
	"sync"

	"github.com/openimds/openimds/attach"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/naming"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/engine"
)

// hosting is what serves the guests of a host: a [Server] has it, and an [Agent].
type hosting struct {
	cfg      Config
	log      *slog.Logger
	dog      *watchdog
	nameless bool // the host was given no name among those that share the store
	sources  *credentials.Sources
	usage    *usage.Meter
	told     *engine.Writer // nil: no engine of metrics is told what is counted
	// documents signs identity documents, and vouches for pushed SSH keys who signs those; nil: nobody does.
	documents guestside.Signer
	vouches   metadata.KeySigner

	// regional is the first of the regions, whose the default instance is.
	*regional
	regions []*regional

	// host is the host's network; nil where this process may not change it. endpoints are those of each region, all of
	// which setHost gives to it.
	host        *hostnet.Network
	hostNotes   HostNetwork
	endpointsMu sync.Mutex
	endpoints   map[string][]hostnet.Endpoint
	served      map[string]bool // ids of those that it has
	setHost     func([]hostnet.Endpoint) error
	settled     chan struct{} // closed once that is known of the attachments of all regions
	naming      *naming.Namer

	// guestsWaiting is how many connections of guests may wait at once; 0: any number.
	guestsWaiting int
}

// openGuestsOf makes the guest side of a region, and who attaches its instances to this host.
func (s *hosting) openGuestsOf(r *regional) {
	r.guests = guestside.New(guestside.Config{
		Presence:    r.presence,
		Store:       r.kept,
		Marker:      r.rules,
		Faults:      r.rules,
		Credentials: s.sources,
		Signer:      s.documents,
		IMDS: imds.Config{
			Rate:        s.cfg.GuestRate,
			Burst:       s.cfg.GuestBurst,
			Connections: s.cfg.GuestConnections,
			Waiting:     s.guestsWaiting,
			AllowHosts:  s.cfg.AllowHosts,
			Usage:       s.usage,
			Keys:        s.vouches,
		},
		Log: s.log,
	})
	attaching := attach.Config{
		Store: r.kept, Name: s.cfg.Host, Binder: r.rules, Seats: r.guests, Host: shared{s, r}, Report: r.report, Log: s.log,
	}
	if r.service != nil { // else the replica takes the end of a seat for it
		attaching.LetGo = r.letGo
	}
	r.attachments = attach.New(attaching)
}
