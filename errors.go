package openimds

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind says what sort of failure an [Error] is: who can do something about it, and what.
type Kind uint8

// The kinds of failure.
const (
	// Internal is a fault of the service itself. Its cause never reaches a client.
	Internal Kind = iota
	// InvalidInput means that the request can never succeed as it stands.
	InvalidInput
	// NotFound means that the named resource does not exist.
	NotFound
	// OperationFailure means that the resource's present state forbids the request.
	OperationFailure
	// AccessDenied means that the caller may not do this.
	AccessDenied
	// Unavailable means that the store, or the log of changes, cannot be reached or written; a retry may succeed.
	Unavailable
)

// Error is a failure: a kind, a code and what they are about. [Error.Message] tells it to a client in neutral
// English, [Error.In] in the words of an API; only the log is told of the cause.
type Error struct {
	Kind Kind
	Code Code
	// Args are what the message tells of: a [Field] or [ResourceType], a value that may be shown, a limit. None
	// is a secret, user data or a value of an overlay.
	Args []any
	// Err is the cause, if there is another one.
	Err error

	format string // over Args, as of fmt
}

// Errorf makes an [Error] whose message is meant for the client: format is neutral English over args, which become
// [Error.Args]. A Field at its beginning gets a capital letter.
func Errorf(kind Kind, code Code, format string, args ...any) *Error {
	if false {
		_ = fmt.Sprintf(format, args...) // so that vet compares the two at every call
	}
	return &Error{Kind: kind, Code: code, Args: args, format: format}
}

// Because gives the error its cause, and returns it.
func (e *Error) Because(err error) *Error {
	e.Err = err
	return e
}

// Message returns the text for the client in neutral English, on one line.
func (e *Error) Message() string { return e.In(neutral) }

// Error returns the text for the client, followed by the cause when there is one.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message() + ": " + e.Err.Error()
	}
	return e.Message()
}

func (e *Error) Unwrap() error { return e.Err }

// Vocabulary is how an API calls what errors tell of. What is not in it has its neutral words.
type Vocabulary struct {
	Fields map[Field]string
	Types  map[ResourceType]string
	// Texts stand in place of the neutral message of a code; their verbs are for the same arguments in the same
	// order.
	Texts map[Code]string
}

// In returns the text for the client of an API. An error among the arguments is told in the same words.
func (e *Error) In(v Vocabulary) string {
	format, args := e.format, slices.Clone(e.Args)
	if text, ok := v.Texts[e.Code]; ok {
		format = text
	}
	for i, arg := range args {
		switch arg := arg.(type) {
		case Field:
			word, ok := v.Fields[arg]
			if !ok {
				word = string(arg)
				if i == 0 && strings.HasPrefix(format, "%s") {
					word = capital(word)
				}
			}
			args[i] = word
		case ResourceType:
			args[i] = cmp.Or(v.Types[arg], neutral.Types[arg], string(arg))
		case *Error:
			args[i] = arg.In(v)
		}
	}
	return fmt.Sprintf(format, args...)
}

// capital begins a sentence with word.
func capital(word string) string {
	first, size := utf8.DecodeRuneInString(word)
	return string(unicode.ToUpper(first)) + word[size:]
}

// KindOf tells the kind of err; an error that is no [Error] is [Internal].
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// CodeOf tells the code of err; an error that is no [Error] is [Broken].
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Broken
}
