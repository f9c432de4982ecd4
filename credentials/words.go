package credentials

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// said is an error in this program's own words. Whatever a source says of itself may hold the very
// secrets that it was asked for: a program's output, a line of a file, the body of an answer, and so
// each error of a library that quotes them. None of that is passed on; see [ownWords].
type said string

func (s said) Error() string { return string(s) }

func sayf(format string, args ...any) error { return said(fmt.Sprintf(format, args...)) }

// knownCodes are the error codes of AWS's services that are worth passing on. A code is text of the
// other side too, so that one which is not listed is not shown.
var knownCodes = []string{
	"AccessDenied", "AccessDeniedException", "ExpiredToken", "ExpiredTokenException", "ForbiddenException",
	"IDPCommunicationError", "IDPRejectedClaim", "InternalFailure", "InvalidClientTokenId", "InvalidGrantException",
	"InvalidIdentityToken", "InvalidParameterValue", "InvalidRequestException", "MalformedPolicyDocument",
	"MissingAuthenticationToken", "OptInRequired", "PackedPolicyTooLarge", "RegionDisabledException", "RequestExpired",
	"ResourceNotFoundException", "ServiceUnavailable", "SignatureDoesNotMatch", "Throttling", "ThrottlingException",
	"TooManyRequestsException", "UnauthorizedException", "UnrecognizedClientException", "ValidationError",
}

// ownWords says what failed without repeating anything that a source has said.
func ownWords(err error) error {
	if own, ok := errors.AsType[said](err); ok {
		return own // without the errors around it, which may hold more
	}
	switch {
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return sayf("no answer within %v", fetchTime)
	}
	if words := configurationWords(err); words != "" {
		return said(words)
	}
	if words := answerWords(err); words != "" {
		return said(words)
	}
	return sayf("it failed with an error of the type %T, whose text is not shown since it may hold secrets; ask the same of 'aws sts get-caller-identity' to see it", innermost(err))
}

// configurationWords is of what is wrong with AWS's files and variables.
func configurationWords(err error) string {
	if _, ok := errors.AsType[config.SharedConfigProfileNotExistError](err); ok {
		return "the AWS configuration has no profile of that name"
	}
	if _, ok := errors.AsType[config.SharedConfigLoadError](err); ok {
		return "the AWS configuration files cannot be read; 'aws configure list' says more"
	}
	_, role := errors.AsType[config.SharedConfigAssumeRoleError](err)
	_, arn := errors.AsType[config.CredentialRequiresARNError](err)
	if role || arn {
		return "the profile's role is incomplete: it needs role_arn, and source_profile or credential_source"
	}
	if _, ok := errors.AsType[config.AssumeRoleTokenProviderNotSetError](err); ok {
		return noMFA
	}
	for setting, values := range refused {
		if strings.Contains(err.Error(), "failed to load "+setting+" from shared config") {
			return "the profile's " + setting + " must be " + values + " here, or not be set"
		}
	}
	for theirs, ours := range untyped {
		if strings.Contains(err.Error(), theirs) {
			return ours
		}
	}
	return ""
}

// untyped has words for errors of the SDK that only their text tells apart.
var untyped = map[string]string{
	"access disabled to EC2 IMDS":     string(errNone),
	"partial credentials found":       "the profile has only half a pair of keys",
	"failed to find SSO session":      "the AWS configuration has no sso-session of the name that the profile gives",
	"credential_source values must":   "the profile's credential_source is none of Environment, Ec2InstanceMetadata and EcsContainer",
	"failed to retrieve jwt":          "the profile's web_identity_token_file cannot be read",
	"did not contain credentials":     "the service answered without credentials",
	"SSO session has expired":         "the SSO session has expired; run 'aws sso login'",
	"failed to read cached SSO token": "there is no SSO session; run 'aws sso login'",
}

// refused are the settings of a profile of which the SDK refuses values that other clients take, and what it takes.
var refused = map[string]string{
	"account_id_endpoint_mode": "preferred, required or disabled", "defaults_mode": "legacy, standard, in-region, cross-region, mobile or auto",
	"disable_clock_skew_correction": "true or false", "disable_request_compression": "true or false",
	"ec2_metadata_service_endpoint_mode": "IPv4 or IPv6", "max_attempts": "a number", "request_checksum_calculation": "when_supported or when_required",
	"request_min_compression_size_bytes": "a number of 0 to 10485760", "response_checksum_validation": "when_supported or when_required",
	"retry_mode": "standard or adaptive",
}

const noMFA = "the profile asks for an MFA code, which nobody can type here; use a profile of a session that is open already"

// answerWords is of what a service answered, or that it could not be reached.
func answerWords(err error) string {
	status := ""
	if answered, ok := errors.AsType[interface {
		error
		HTTPStatusCode() int
	}](err); ok && answered.HTTPStatusCode() != 0 {
		status = fmt.Sprintf(" (HTTP status %d)", answered.HTTPStatusCode())
	}
	_, wrong := errors.AsType[*smithy.DeserializationError](err)
	coded, refused := errors.AsType[smithy.APIError](err)
	switch {
	case errors.Is(err, errTooLong):
		return fmt.Sprintf("the service's answer is longer than %d bytes%s", maxAnswer, status)
	case wrong:
		return "the service's answer cannot be understood" + status
	case refused && slices.Contains(knownCodes, coded.ErrorCode()):
		return "the service refused with " + coded.ErrorCode() + status
	case status != "":
		return "the service refused" + status
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return "the service's name cannot be resolved"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the service's certificate is not trusted"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return "the system says: " + errno.Error()
	}
	if timed, ok := errors.AsType[net.Error](err); ok && timed.Timeout() {
		return "the service does not answer in time"
	}
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return "the service gave no answer that is one of HTTP"
	}
	return ""
}

// innermost is what an error wraps at last: the type that says most.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// faultWords is of a panic in a library. Only the runtime's own words cannot hold what was worked on.
func faultWords(fault any) error {
	if err, ok := fault.(runtime.Error); ok {
		return sayf("a fault in the program: %v", err)
	}
	return sayf("a fault in the program, of the type %T", fault)
}
