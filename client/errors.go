package client

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/openimds/openimds/api/ec2query"
)

// Error is what a control API answers in place of a result.
type Error struct {
	// Status is HTTP's.
	Status int
	// Exception is the name of the failure in the API's model, such as NotFoundException, or EC2's code, such as
	// InvalidInstanceID.NotFound; empty: what answered is no such API.
	Exception string
	// Code is finer where there is one, such as DoesNotExist.
	Code    string
	Message string
	// RequestID is the service's name for the request, for its log.
	RequestID string
}

// Error is the exception and the message, in one line.
func (e *Error) Error() string {
	switch "" {
	case e.Message:
		return e.Exception
	case e.Exception:
		return e.Message
	}
	return e.Exception + ": " + e.Message
}

// NotFound says that what the request names does not exist.
func (e *Error) NotFound() bool {
	return strings.HasSuffix(e.Exception, "NotFoundException") || strings.HasSuffix(e.Exception, ".NotFound")
}

// Throttled says that the service did nothing, for it is asked too often.
func (e *Error) Throttled() bool {
	_, throttled := retry.DefaultThrottleErrorCodes[e.Exception]
	return throttled || e.Status == http.StatusTooManyRequests
}

// nothingDone says of a failure that it certainly left all as it was.
func (e *Error) nothingDone() bool {
	return e.Code == "Unready" || e.Code == "Contended"
}

// apiNames are what the APIs of services are called.
var apiNames = map[string]string{ServiceLightsail: "Lightsail control", ServiceEC2: "EC2", ServiceCloudWatch: "CloudWatch"}

// refusal reads an answer that is no result.
func refusal(service, endpoint string, resp *http.Response, answer []byte) *Error {
	e := &Error{Status: resp.StatusCode, RequestID: resp.Header.Get("x-amzn-RequestId")}
	var body struct {
		Type    string `json:"__type"`
		Code    string `json:"code"`
		Message string `json:"message"`
		Upper   string `json:"Message"` // of failures below the API's own level
	}
	if service == ServiceEC2 {
		if known, id, ok := ec2query.UnmarshalError(answer); ok {
			e.Exception, e.Message, e.RequestID = known.Code, known.Message, cmp.Or(e.RequestID, id)
			return e
		}
	}
	if json.Unmarshal(answer, &body) != nil || body.Type == "" {
		e.Message = fmt.Sprintf("%s answered %s; is it a %s API?", endpoint, resp.Status, apiNames[service])
		return e
	}
	e.Exception = body.Type[strings.LastIndexByte(body.Type, '#')+1:]
	e.Code = body.Code
	if e.Message = body.Message; e.Message == "" {
		e.Message = body.Upper
	}
	return e
}

// Unreachable says that a request has no answer: whether it was carried out is not known, unless the
// connection could not be made.
type Unreachable struct {
	// Err is why.
	Err    error
	broken bool
}

// Error says what happened, and why.
func (e *Unreachable) Error() string {
	what := "cannot reach the control API: "
	switch {
	case e.broken:
		what = "the control API's answer broke off: "
	case e.UnknownCertificate():
		what = "the control API's certificate is not known here: "
	}
	return what + e.Err.Error()
}

func (e *Unreachable) Unwrap() error { return e.Err }

// Broken says that the service had begun to answer.
func (e *Unreachable) Broken() bool { return e.broken }

// UnknownCertificate says that the service shows a certificate of an authority that is not known here.
func (e *Unreachable) UnknownCertificate() bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](e.Err)
	return unknown
}

// unreachable says why there is no answer. net/http's own words begin with the URL and the method, which
// the caller knows.
func unreachable(err error) *Unreachable {
	if around, ok := errors.AsType[*url.Error](err); ok {
		err = around.Err
	}
	return &Unreachable{Err: err}
}

// nothingSent says that there was no connection that a request could have been sent over.
func (e *Unreachable) nothingSent() bool {
	failed, ok := errors.AsType[*net.OpError](e.Err)
	return ok && failed.Op == "dial"
}

// mayPass says whether another attempt may get an answer.
func (e *Unreachable) mayPass() bool {
	_, certificate := errors.AsType[*tls.CertificateVerificationError](e.Err)
	return !certificate
}
