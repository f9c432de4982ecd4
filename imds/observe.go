package imds

import (
	"net/netip"

	"github.com/openimds/openimds/usage"
)

// Observation is one answered request, as whoever develops or tests a client wants to see it. Header
// values that hold secrets are not part of it.
type Observation struct {
	// Instance is the name of the instance that was asked.
	Instance string
	// Source is the caller's end of the connection; the zero value if that is no matter of IP.
	Source netip.AddrPort
	// Method is GET, HEAD, PUT or OPTIONS; empty: another, or none that could be read.
	Method string
	// Target is the path with the query, as sent.
	Target    string
	UserAgent string
	// Call says what the request was as far as tokens go; Call.Version tells IMDSv1 from IMDSv2.
	Call   usage.Call
	Status int
}

var methodNames = [...]string{methodGet: "GET", methodHead: "HEAD", methodPut: "PUT", methodOptions: "OPTIONS"}

// observe tells of a request whose answer is about to be sent.
func (g *Guest) observe(st *state, resp *response, w *workspace) {
	tell := g.server.cfg.Observe
	if tell == nil {
		return
	}
	r := &w.request
	tell(Observation{
		Instance: st.instance.Name, Source: w.source, Method: methodNames[r.method], Target: string(r.target),
		UserAgent: string(r.userAgent), Call: resp.call, Status: resp.status,
	})
}
