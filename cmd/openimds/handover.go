package main

import (
	"net/netip"

	"github.com/openimds/openimds/imds"
)

// A command that "openimds run --instance" runs has listeners in a namespace of its own. They are
// handed over to the server that has the instance, through a socket in its data directory: whoever may
// use that may also read its keys. So the server answers as the instance, by the listener.

// handoverSocket is the socket's name.
const handoverSocket = "guests.sock"

// handoverMessage is what the two ends tell each other; each has one of the fields.
type handoverMessage struct {
	// From the runner: one listener comes along; Heard answers a Seen.
	Serve *handoverServe `json:",omitempty"`
	Heard bool           `json:",omitempty"`
	// From the server.
	Serving bool          `json:",omitempty"`
	Failed  string        `json:",omitempty"`
	Seen    *handoverSeen `json:",omitempty"`
}

type handoverServe struct {
	Instance string
	Observe  bool // tell of each request
}

// handoverSeen is a request whose answer waits for Heard.
type handoverSeen struct {
	Source  netip.AddrPort
	Request sighting
}

// maxHandoverText bounds what of a request is passed on, in bytes.
const maxHandoverText = 2 << 10

// sightingOf is what is kept of an observed request, but for who made it.
func sightingOf(o imds.Observation) sighting {
	return sighting{Version: o.Call.Version(), Method: o.Method, Path: bounded(o.Target), Status: o.Status, UserAgent: bounded(o.UserAgent)}
}

func bounded(s string) string { return s[:min(len(s), maxHandoverText)] }
