package sigv4

import (
	"fmt"
	"net/http"
)

// Error is a refusal, fit to be shown to the client: it has no secret, nor anything that helps to
// make a signature.
type Error struct {
	// Code is the name of AWS's exception.
	Code    string
	Message string
	// Status is the HTTP status.
	Status int
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Throttled says that there were too many wrong signatures from the request's address.
func (e *Error) Throttled() bool { return e.Code == codeThrottled }

// The exceptions that a refusal may be.
const (
	codeMissing      = "MissingAuthenticationTokenException"
	codeIncomplete   = "IncompleteSignatureException"
	codeInvalid      = "InvalidSignatureException"
	codeUnrecognized = "UnrecognizedClientException"
	codeThrottled    = "ThrottlingException"
)

// refuse makes an [Error]. AWS's newer services answer some codes with 403, the older JSON ones all
// with 400; clients go by the code.
func refuse(code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Status: http.StatusBadRequest}
}

var (
	errMissing      = refuse(codeMissing, "Request is missing Authentication Token")
	errUnrecognized = refuse(codeUnrecognized, "The security token included in the request is invalid.")
	errMismatch     = refuse(codeInvalid, "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	errBodyHash     = refuse(codeInvalid, "The provided 'x-amz-content-sha256' header does not match what was computed.")
	errThrottled    = refuse(codeThrottled, "Rate exceeded")
)
