package console

import (
	"context"
	"net/http"
	"net/url"

	"github.com/openimds/openimds/api"
)

// regionHeader names the region that an operation is for.
const regionHeader = "X-Openimds-Region"

// bridge has an operation carried out for whoever is signed in.
func (c *Console) bridge(w http.ResponseWriter, r *http.Request, operation string) {
	if !method(w, r, http.MethodPost) || !isJSON(w, r) || !c.signedIn(w, r) {
		return
	}
	target, known := c.cfg.Targets[operation]
	if !known {
		fail(w, http.StatusNotFound, "UnknownOperationException", "The control API has no such operation")
		return
	}
	handler, known := c.bridges[c.regionOr(r.Header.Get(regionHeader))]
	if !known {
		c.noRegion(w)
		return
	}
	// Of the request only this passes: a signature that it had as well would be a second answer to who asks.
	asked := r.WithContext(context.WithValue(r.Context(), bySession{}, true))
	asked.URL = &url.URL{Path: "/"}
	asked.Header = http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {target}, "Cookie": r.Header["Cookie"]}
	handler.ServeHTTP(w, asked)
}

// signedIn refuses a request without a session. It is for the answer alone: the API looks itself.
func (c *Console) signedIn(w http.ResponseWriter, r *http.Request) bool {
	_, err := c.cfg.Sessions.Verify(r, "", nil)
	if err != nil {
		c.refuse(w, err)
	}
	return err == nil
}

// regionOr is the region that is named, or the first.
func (c *Console) regionOr(named string) string {
	if named == "" {
		return c.cfg.Regions[0].Name
	}
	return named
}

func (c *Console) noRegion(w http.ResponseWriter) {
	fail(w, http.StatusBadRequest, "InvalidInputException", "This server does not serve that region; GET /console/session names those that it serves")
}

// plainJSON has a protocol's answers be what browsers call JSON.
type plainJSON struct{ api.Protocol }

// Encode implements [api.Protocol].
func (p plainJSON) Encode(of api.Request, result any, err error) api.Answer {
	answer := p.Protocol.Encode(of, result, err)
	answer.ContentType = "application/json"
	return answer
}
