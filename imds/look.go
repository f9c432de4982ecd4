package imds

import (
	"bytes"
	"net/url"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/session"
)

// Look answers what the guest of an instance would be answered to GETs of paths ("latest/meta-data/ami-id"), by
// version 1 or, with a token of its own, 2. Nothing of it is counted, limited or seen by observers, and it meets neither
// faults on purpose nor a brown-out. An instance that answers nobody is told by the status 0.
func (s *Server) Look(in *openimds.Instance, v2 bool, paths ...string) ([]openimds.GuestAnswer, error) {
	answers := make([]openimds.GuestAnswer, len(paths))
	if !in.State.Answers() {
		return answers, nil
	}
	st, err := s.stateOf(in)
	if err != nil {
		return nil, err
	}
	w, now := newWorkspace(), s.cfg.Now()
	var token []byte
	if v2 {
		token = st.sealer.Append(nil, session.MinTTL, now, &w.scratch)
	}
	for i, path := range paths {
		r := request{method: methodGet, minor: 1, host: []byte("169.254.169.254"), hostCount: 1, target: []byte((&url.URL{Path: "/" + path}).EscapedPath())}
		if v2 {
			r.token, r.tokenCount = token, 1
		}
		resp := st.answer(&r, now, w)
		answers[i] = openimds.GuestAnswer{Status: resp.status, ContentType: resp.contentType, Body: bytes.Clone(resp.body), Listing: resp.listing}
	}
	return answers, nil
}
