package cloudwatch

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/api/sigv4"
)

// failure is one as the client reads it.
type failure struct {
	status int
	// code is its name in the query API, shape that of the exception in the model; not all have one there.
	code, shape string
	message     string
}

func (f *failure) Error() string { return f.code + ": " + f.message }

func failed(status int, code, shape string) func(string, ...any) *failure {
	return func(format string, args ...any) *failure {
		return &failure{status: status, code: code, shape: shape, message: fmt.Sprintf(format, args...)}
	}
}

// The failures of the model, and those that AWS's front ends add.
var (
	invalidValue       = failed(400, "InvalidParameterValue", "InvalidParameterValueException")
	invalidCombination = failed(400, "InvalidParameterCombination", "InvalidParameterCombinationException")
	missingParameter   = failed(400, "MissingParameter", "MissingRequiredParameterException")
	invalidNextToken   = failed(400, "InvalidNextToken", "InvalidNextToken")
	invalidFormat      = failed(400, "InvalidFormat", "InvalidFormatFault")
	limitExceeded      = failed(400, "LimitExceeded", "LimitExceededFault")
	resourceNotFound   = failed(404, "ResourceNotFound", "ResourceNotFound")
	resourceUnknown    = failed(404, "ResourceNotFoundException", "ResourceNotFoundException")
	internal           = failed(500, "InternalServiceError", "InternalServiceFault")
	validation         = failed(400, "ValidationError", "ValidationException")
	accessDenied       = failed(403, "AccessDenied", "AccessDeniedException")
	unreadable         = failed(400, "MalformedInput", "SerializationException")
	tooLarge           = failed(413, "RequestEntityTooLarge", "RequestEntityTooLargeException")
	noLength           = failed(411, "MissingContentLength", "MissingContentLength")
	busy               = failed(503, "ServiceUnavailable", "ServiceUnavailableException")

	errNotTheAPI = failed(404, "InvalidAction", "UnknownOperationException")("This is no request of CloudWatch's API")
)

func unknownOperation(name string) *failure {
	return failed(http.StatusBadRequest, "InvalidAction", "UnknownOperationException")("The operation %.100s is not known here, or is not built", name)
}

// missing refuses a request without a member that it has to have.
func missing(request any) error {
	v := reflect.ValueOf(request).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); awsjson.IsRequired(f) && v.Field(i).IsZero() {
			return missingParameter("The parameter %s is required.", awsjson.MemberName(f))
		}
	}
	return nil
}

// vocabulary is how CloudWatch calls what errors tell of.
var vocabulary = openimds.Vocabulary{
	Fields: map[openimds.Field]string{
		openimds.FieldPeriods:     "EvaluationPeriods",
		openimds.FieldDatapoints:  "DatapointsToAlarm",
		openimds.FieldThreshold:   "Threshold",
		openimds.FieldComparison:  "ComparisonOperator",
		openimds.FieldMissingData: "TreatMissingData",
		openimds.FieldPeriod:      "Period",
		openimds.FieldDescription: "AlarmDescription",
		openimds.FieldReason:      "StateReason",
		openimds.FieldReasonData:  "StateReasonData",
	},
	Types: map[openimds.ResourceType]string{
		openimds.TypeInstance: "instance",
		openimds.TypeAlarm:    "alarm",
	},
}

// asFailure tells what the client reads of an error. What is not meant for clients becomes a text that says nothing.
func asFailure(form form, err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if e, ok := errors.AsType[*sigv4.Error](err); ok {
		return signature(form, e)
	}
	if e, ok := errors.AsType[*awsjson.Malformed](err); ok {
		return unreadable("%s", e.Message)
	}
	if e, ok := errors.AsType[*awsjson.Invalid](err); ok {
		return validation("%s", e.Message)
	}
	if e, ok := errors.AsType[*api.Unread](err); ok {
		return unread(e.Reason)
	}
	e, ok := errors.AsType[*openimds.Error](err)
	if !ok {
		return internal("Internal error")
	}
	text := e.In(vocabulary)
	switch e.Kind {
	case openimds.AccessDenied:
		return accessDenied("%s", text)
	case openimds.NotFound:
		return resourceNotFound("%s", text)
	case openimds.InvalidInput:
		if e.Code == openimds.TooMany { // points, as AWS has it; of alarms see putMetricAlarm
			return invalidCombination("%s", text)
		}
		return invalidValue("%s", text)
	case openimds.OperationFailure:
		return invalidValue("%s", text)
	case openimds.Unavailable: // clients try it again
		return internal("%s", text)
	}
	return internal("Internal error")
}

// unread says why a body was not read.
func unread(err error) *failure {
	switch {
	case errors.Is(err, front.ErrTooLarge):
		return tooLarge("A request has at most %s bytes", strconv.Itoa(api.MaxBody))
	case errors.Is(err, front.ErrNoLength):
		return noLength("A request says by Content-Length how long its body is")
	case errors.Is(err, front.ErrBusy):
		return busy("Too many large requests at once; try again")
	}
	return unreadable("The request's body broke off")
}

// queryCodes are what the query API calls refusals of signatures.
var queryCodes = map[string]string{
	"MissingAuthenticationTokenException": "MissingAuthenticationToken",
	"IncompleteSignatureException":        "IncompleteSignature",
	"InvalidSignatureException":           "SignatureDoesNotMatch",
	"UnrecognizedClientException":         "InvalidClientTokenId",
	"ThrottlingException":                 "Throttling",
}

// signature is the refusal of one. Clients know the codes of each form.
func signature(form form, e *sigv4.Error) *failure {
	code, known := queryCodes[e.Code]
	if !known {
		code = e.Code
	}
	status := http.StatusForbidden
	if form != formQuery || e.Throttled() || code == "IncompleteSignature" {
		status = http.StatusBadRequest
	}
	if form != formQuery { // what AWS's newer services call it
		code = e.Code
	}
	return failed(status, code, e.Code)("%s", e.Message)
}
