package ec2

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/ec2query"
	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/api/sigv4"
)

// invalid makes an error by EC2's name for it.
func invalid(code, format string, args ...any) error {
	return &ec2query.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

var errDryRun = &ec2query.Error{Code: "DryRunOperation", Message: "Request would have succeeded, but DryRun flag is set."}

// vocabulary is how EC2 calls what errors tell of.
var vocabulary = openimds.Vocabulary{
	Fields: map[openimds.Field]string{
		openimds.FieldTokens:         "HttpTokens",
		openimds.FieldEndpoint:       "HttpEndpoint",
		openimds.FieldHopLimit:       "HttpPutResponseHopLimit",
		openimds.FieldIPv6Endpoint:   "HttpProtocolIpv6",
		openimds.FieldMetadataTags:   "InstanceMetadataTags",
		openimds.FieldTokensEnforced: "HttpTokensEnforced",
		openimds.FieldClientToken:    "ClientToken",
		openimds.FieldPublicKey:      "PublicKeyMaterial",
		openimds.FieldRoleName:       "IamInstanceProfile.Name",
		openimds.FieldBlueprint:      "ImageId",
		openimds.FieldBundle:         "InstanceType",
		openimds.FieldZone:           "Placement.AvailabilityZone",
	},
}

// statuses are those of the codes that are not answered with 400.
var statuses = map[string]int{
	"DryRunOperation":       http.StatusPreconditionFailed,
	"UnauthorizedOperation": http.StatusForbidden,
	"AuthFailure":           http.StatusUnauthorized,
	"InternalError":         http.StatusInternalServerError,
	"Unavailable":           http.StatusServiceUnavailable,
	"RequestLimitExceeded":  http.StatusServiceUnavailable,
}

// explained tells what only EC2 tells apart: an instance that is terminated cannot be changed, and is still there.
func (p *protocol) explained(ctx context.Context, err error) error {
	e, ok := errors.AsType[*openimds.Error](err)
	if !ok || e.Code != openimds.DoesNotExist || len(e.Args) != 2 || e.Args[0] != openimds.TypeInstance {
		return err
	}
	id, _ := e.Args[1].(string)
	if _, other := p.service.Terminated(ctx, id); other != nil {
		return err
	}
	return invalid("IncorrectInstanceState", "The instance '%s' is not in a state from which this can be done: it is terminated.", id)
}

// asWire tells what the client reads of a failure, and the HTTP status. What is not meant for clients becomes a text that
// says nothing.
func asWire(err error) (*ec2query.Error, int) {
	e := &ec2query.Error{Code: "InternalError", Message: "An internal error has occurred"}
	if known, ok := errors.AsType[*ec2query.Error](err); ok {
		e = known
	} else if refused, ok := errors.AsType[*sigv4.Error](err); ok {
		e = signature(refused)
	} else if unread, ok := errors.AsType[*api.Unread](err); ok {
		return unreadable(unread.Reason)
	} else if ours, ok := errors.AsType[*openimds.Error](err); ok && ours.Kind != openimds.Internal {
		e = inEC2(ours)
	}
	if status := statuses[e.Code]; status != 0 {
		return e, status
	}
	return e, http.StatusBadRequest
}

// signature names a refused signature as EC2 does, which tells less than others.
func signature(e *sigv4.Error) *ec2query.Error {
	switch {
	case e.Throttled():
		return &ec2query.Error{Code: "RequestLimitExceeded", Message: "Request limit exceeded."}
	case strings.HasPrefix(e.Code, "MissingAuthenticationToken"):
		return &ec2query.Error{Code: "MissingAuthenticationToken", Message: e.Message}
	case strings.HasPrefix(e.Code, "IncompleteSignature"):
		return &ec2query.Error{Code: "IncompleteSignature", Message: e.Message}
	case strings.Contains(e.Message, "expired"):
		return &ec2query.Error{Code: "RequestExpired", Message: e.Message}
	}
	return &ec2query.Error{Code: "AuthFailure", Message: "AWS was not able to validate the provided access credentials: " + e.Message}
}

// unreadable says why a body was not read.
func unreadable(err error) (*ec2query.Error, int) {
	switch {
	case errors.Is(err, front.ErrTooLarge):
		return &ec2query.Error{Code: "RequestEntityTooLarge", Message: "A request has at most " + strconv.Itoa(api.MaxBody) + " bytes"}, http.StatusRequestEntityTooLarge
	case errors.Is(err, front.ErrNoLength):
		return &ec2query.Error{Code: "MissingContentLength", Message: "A request says by Content-Length how long its body is"}, http.StatusLengthRequired
	case errors.Is(err, front.ErrBusy): // clients try it again
		return &ec2query.Error{Code: "Unavailable", Message: "Too many large requests at once; try again"}, http.StatusServiceUnavailable
	}
	return &ec2query.Error{Code: "MalformedQueryString", Message: "The request's body broke off"}, http.StatusBadRequest
}

// inEC2 is a failure of the service in EC2's words.
func inEC2(e *openimds.Error) *ec2query.Error {
	code, text := codeOf(e), e.In(vocabulary)
	if e.Code == openimds.DoesNotExist && len(e.Args) == 2 {
		switch e.Args[0] {
		case openimds.TypeInstance:
			text = fmt.Sprintf("The instance ID '%v' does not exist", e.Args[1])
		case openimds.TypeKeyPair:
			text = fmt.Sprintf("The key pair '%v' does not exist", e.Args[1])
		}
	}
	return &ec2query.Error{Code: code, Message: text}
}

func codeOf(e *openimds.Error) string {
	about := func(what any) bool { return len(e.Args) > 0 && e.Args[0] == what }
	switch {
	case e.Kind == openimds.AccessDenied:
		return "UnauthorizedOperation"
	case e.Kind == openimds.Unavailable:
		return "Unavailable"
	case e.Code == openimds.DoesNotExist && about(openimds.TypeInstance):
		return "InvalidInstanceID.NotFound"
	case e.Code == openimds.DoesNotExist && about(openimds.TypeKeyPair):
		return "InvalidKeyPair.NotFound"
	case e.Code == openimds.Malformed && about(openimds.FieldPublicKey):
		return "InvalidKey.Format"
	case e.Code == openimds.Mismatch && about(openimds.FieldClientToken):
		return "IdempotentParameterMismatch"
	}
	codes := map[openimds.Code]string{
		openimds.DoesNotExist:   "InvalidID.NotFound",
		openimds.NameTaken:      "InvalidKeyPair.Duplicate", // nothing else is named here
		openimds.NotOffered:     "InvalidParameterValue",
		openimds.TooMany:        "TagLimitExceeded", // of tags
		openimds.Conflicting:    "InvalidParameterCombination",
		openimds.Incompatible:   "InvalidParameterCombination",
		openimds.WrongState:     "IncorrectInstanceState",
		openimds.NotEnforced:    "UnsupportedOperation",
		openimds.TokensEnforced: "UnsupportedOperation",
		openimds.Terminated:     "IdempotentInstanceTerminated",
	}
	if code := codes[e.Code]; code != "" {
		return code
	}
	return "InvalidParameterValue"
}

// Encode is [api.Protocol].
func (p *protocol) Encode(of api.Request, result any, err error) api.Answer {
	const xml = "text/xml;charset=UTF-8"
	if err == nil {
		a := result.(answer)
		return api.Answer{Status: http.StatusOK, ContentType: xml, Body: ec2query.Marshal(a.action, of.ID, a.result)}
	}
	e, status := asWire(err)
	return api.Answer{Status: status, ContentType: xml, Body: ec2query.MarshalError(of.ID, e)}
}
