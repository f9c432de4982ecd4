package lightsail

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/front"
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
)

// serialization is the failure to read a request.
func serialization(text string) *wireError {
	return &wireError{status: http.StatusBadRequest, name: "SerializationException", Upper: text}
}

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
		return serialization(e.Message)
	}
	if e, ok := errors.AsType[*api.Unread](err); ok {
		return unread(e.Reason)
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

// unread says why a body was not read.
func unread(err error) *wireError {
	switch {
	case errors.Is(err, front.ErrTooLarge):
		return &wireError{status: http.StatusRequestEntityTooLarge, name: "RequestEntityTooLargeException",
			Message: "A request has at most " + strconv.Itoa(api.MaxBody) + " bytes"}
	case errors.Is(err, front.ErrNoLength):
		return &wireError{status: http.StatusLengthRequired, name: "MissingContentLength",
			Message: "A request says by Content-Length how long its body is"}
	case errors.Is(err, front.ErrBusy): // clients try it again
		return &wireError{status: http.StatusServiceUnavailable, name: "ServiceUnavailableException",
			Message: "Too many large requests at once; try again"}
	}
	return serialization("The request's body broke off")
}

// Encode is [api.Protocol].
//
// Clients look for an exception's name in different places: the AWS CLI and boto3 in the body, the
// SDKs for Go and JavaScript in a header first. Both say the same, so that code may be the finer code.
func (a *protocol) Encode(_ api.Request, result any, err error) api.Answer {
	const json11 = "application/x-amz-json-1.1"
	if err == nil {
		body, failed := awsjson.Marshal(result)
		if failed == nil {
			return api.Answer{Status: http.StatusOK, ContentType: json11, Body: body}
		}
		err = failed
	}
	e := *asWire(err)
	answer := api.Answer{Status: e.status, ContentType: json11, Header: map[string]string{"x-amzn-ErrorType": e.name}}
	if errors.Is(err, errNotTheAPI) {
		answer.ContentType, answer.Body = "text/xml", []byte("<UnknownOperationException/>\n")
		return answer
	}
	e.Type = e.name
	answer.Body, _ = awsjson.Marshal(e) // texts only
	return answer
}
