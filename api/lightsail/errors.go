package lightsail

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/sigv4"
)

// wireError is a failure as the client reads it. The service's own errors and those of the signature
// become one where they are written.
type wireError struct {
	status int
	name   string // of the exception

	Type    string `json:"__type,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Upper is the message of a failure below the API's own level, which AWS spells so.
	Upper string `json:"Message,omitempty"`
}

func (e *wireError) Error() string {
	if e.Message != "" {
		return e.name + ": " + e.Message
	}
	if e.Upper != "" {
		return e.name + ": " + e.Upper
	}
	return e.name
}

var (
	// errNotTheAPI is what answers other methods, paths and content types; it is no JSON.
	errNotTheAPI        = &wireError{status: http.StatusNotFound, name: "UnknownOperationException"}
	errUnknownOperation = &wireError{status: http.StatusNotFound, name: "UnknownOperationException"}
	errInternal         = openimds.Errorf(openimds.Internal, openimds.Broken, "Internal error")
)

// exception is the name of each kind of failure in the API's model. Clients retry ServiceException,
// the only one that is the server's fault.
func exception(k openimds.Kind) (name string, status int) {
	switch k {
	case openimds.InvalidInput:
		return "InvalidInputException", http.StatusBadRequest
	case openimds.NotFound: // 400 too: Lightsail has no 404 for resources
		return "NotFoundException", http.StatusBadRequest
	case openimds.OperationFailure:
		return "OperationFailureException", http.StatusBadRequest
	case openimds.AccessDenied:
		return "AccessDeniedException", http.StatusBadRequest
	default:
		return "ServiceException", http.StatusInternalServerError
	}
}

// asWire tells what the client reads of a failure. What is not meant for clients becomes a text that
// says nothing.
func asWire(err error) *wireError {
	if e, ok := errors.AsType[*wireError](err); ok {
		return e
	}
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return &wireError{status: e.Status, name: e.Code, Message: e.Message}
	}
	if e, ok := errors.AsType[*awsjson.Malformed](err); ok {
		return &wireError{status: http.StatusBadRequest, name: "SerializationException", Upper: e.Message}
	}
	if e, ok := errors.AsType[*awsjson.Invalid](err); ok {
		name, status := exception(openimds.InvalidInput)
		return &wireError{status: status, name: name, Message: e.Message}
	}
	e, ok := errors.AsType[*openimds.Error](err)
	if !ok || e.Kind == openimds.Internal {
		return &wireError{status: http.StatusInternalServerError, name: "ServiceException", Message: "Internal error"}
	}
	name, status := exception(e.Kind)
	return &wireError{status: status, name: name, Code: codes[e.Code], Message: e.In(vocabulary)}
}

// write sends the one answer of a request, and returns its status.
//
// Clients look for an exception's name in different places: the AWS CLI and boto3 in the body, the
// SDKs for Go and JavaScript in a header first. Both say the same, so that code may be the finer code.
func write(w http.ResponseWriter, requestID string, result any, err error) int {
	status, body := http.StatusOK, []byte(nil)
	if err == nil {
		body, err = awsjson.Marshal(result)
	}
	h := w.Header()
	h["x-amzn-RequestId"] = []string{requestID} // the spelling of AWS, not Go's
	h["Server"] = []string{"Server"}
	h["Content-Type"] = []string{"application/x-amz-json-1.1"}
	if err != nil {
		e := *asWire(err)
		status = e.status
		h["x-amzn-ErrorType"] = []string{e.name}
		if errors.Is(err, errNotTheAPI) {
			h["Content-Type"] = []string{"text/xml"}
			body = []byte("<UnknownOperationException/>\n")
		} else {
			e.Type = e.name
			body, _ = awsjson.Marshal(e) // texts only
		}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = io.Copy(w, bytes.NewReader(body)) // a client that has gone does not read why
	return status
}
