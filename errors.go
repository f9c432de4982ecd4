package openimds

import (
	"errors"
	"fmt"
)

// Kind says what sort of failure an [Error] is. The names follow the exceptions of the Lightsail API.
type Kind uint8

// The kinds of failure.
const (
	// Internal is a fault of the service itself. Its text never reaches a client.
	Internal Kind = iota
	// InvalidInput means that the request can never succeed as it stands.
	InvalidInput
	// NotFound means that the named resource does not exist.
	NotFound
	// OperationFailure means that the resource's present state forbids the request.
	OperationFailure
	// AccessDenied means that the caller may not do this.
	AccessDenied
	// Unavailable means that the store cannot be reached or cannot write; a retry may succeed.
	Unavailable
)

// Error is a failure with two texts: Message is for the client, Err (if any) only for the log.
type Error struct {
	Kind Kind
	// Code refines Kind for machines, as Lightsail does ("NameExists", "DoesNotExist"); may be empty.
	Code    string
	Message string
	Err     error
}

// Error returns the text for the client, followed by the cause when there is one.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an [Error] whose message is meant for the client.
func Errorf(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// KindOf tells the kind of err; an error that is no [Error] is [Internal].
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
