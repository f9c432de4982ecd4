// Package handover carries the listeners of one command to the running server that has its instance (Linux).
// The command is in a network namespace of its own; its listeners go through a socket in the server's data
// directory, so whoever may use that may also read its keys. The server answers as the instance, by the
// listener, for as long as the command's side of the connection is open:
//
//	taker, err := handover.Listen(dataDir, guests, log)      // the server
//	err := handover.NewOffers(dataDir, "web", o).Offer(l)    // the command's side
package handover

import (
	"net/netip"

	"github.com/openimds/openimds/imds"
)

// socket is the name of the socket in the data directory.
const socket = "guests.sock"

// message is what the two ends tell each other; each has one of the fields.
type message struct {
	// From the command's side: one listener comes along; Heard answers an Arrived, and Told a Tell.
	Serve *serve `json:",omitempty"`
	Heard bool   `json:",omitempty"`
	Tell  bool   `json:",omitempty"`
	// From the server.
	Serving bool            `json:",omitempty"`
	Failed  string          `json:",omitempty"`
	Arrived *netip.AddrPort `json:",omitempty"` // a connection waits for Heard before it is read
	Seen    *Seen           `json:",omitempty"`
	Told    *told           `json:",omitempty"` // of all that was seen before the Tell
}

type serve struct {
	Instance string
	Observe  bool // tell of each connection and request
}

type told struct {
	Lost map[string]int // by version: requests that could not be told of since the beginning
}

// Seen is a request and where it came from.
type Seen struct {
	Source  netip.AddrPort
	Request Request
}

// Request is what is kept of a request that was observed.
type Request struct {
	Version   string `json:"version"` // "v1", "v2", or "none" of what says nothing of it
	Method    string `json:"method"`
	Path      string `json:"path"`
	Status    int    `json:"status"`
	UserAgent string `json:"userAgent"`
}

// maxText bounds what of a request is passed on, in bytes.
const maxText = 2 << 10

// SeenOf is what is kept of an observed request, but for who made it.
func SeenOf(o imds.Observation) Seen {
	return Seen{o.Source, Request{Version: o.Call.Version(), Method: o.Method, Path: bounded(o.Target), Status: o.Status, UserAgent: bounded(o.UserAgent)}}
}

func bounded(s string) string { return s[:min(len(s), maxText)] }
