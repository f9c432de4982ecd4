package cloudwatch

import (
	"mime"
	"net/http"
	"strings"

	"github.com/openimds/openimds/api/cloudwatch/wire"
	"github.com/openimds/openimds/api/sigv4"
)

// form is how a request is written; its answer is written alike.
type form int

const (
	formQuery form = iota // a form, answered with XML
	formJSON              // AWS JSON 1.0
	formCBOR              // Smithy RPC v2
)

const (
	typeCBOR = "application/cbor"
	typeJSON = "application/x-amz-json-1.0"
	typeForm = "application/x-www-form-urlencoded"
	typeXML  = "text/xml"

	targetPrefix = wire.Service + "."
	pathPrefix   = "/service/" + wire.Service + "/operation/"
	// headerProtocol marks Smithy RPC v2, both ways.
	headerProtocol = "smithy-protocol"
	protocolCBOR   = "rpc-v2-cbor"
)

// formOf tells by what every signature covers, the path and X-Amz-Target: what else says how a body is written
// somebody on the way could change.
func formOf(r *http.Request) form {
	switch {
	case strings.HasPrefix(sigv4.Path(r), "/service/"):
		return formCBOR
	case r.Header.Get("X-Amz-Target") != "":
		return formJSON
	}
	return formQuery
}

// operationOf is the operation that a request's head names; a query names none there. The rest of the head has to agree
// with the form.
func operationOf(r *http.Request) (string, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Method != http.MethodPost || err != nil || r.URL.RawQuery != "" {
		return "", errNotTheAPI
	}
	name, known := "", sigv4.Path(r) == "/"
	switch formOf(r) {
	case formCBOR:
		name, known = strings.CutPrefix(sigv4.Path(r), pathPrefix)
		known = known && media == typeCBOR && r.Header.Get(headerProtocol) == protocolCBOR && r.Header.Get("X-Amz-Target") == ""
	case formJSON:
		name = strings.TrimPrefix(r.Header.Get("X-Amz-Target"), targetPrefix)
		known = known && media == typeJSON
	default:
		known = known && media == typeForm
	}
	if !known {
		return "", errNotTheAPI
	}
	return name, nil
}
