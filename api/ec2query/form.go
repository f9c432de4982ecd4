// Package ec2query reads and writes the bodies of EC2's Query protocol: a request is a form whose names lead into
// structures and lists ("Filter.1.Value.2"), an answer is XML. A server reads requests strictly, into structures whose
// types say what the API's model demands of each member; a client passes over what it does not know of an answer. Which
// actions there are is the API's to say.
package ec2query

import (
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Error is the failure to read a request, by EC2's name for it.
type Error struct{ Code, Message string }

// Error is the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

func refuse(code, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// maxParts is how many parts the names of a request may have altogether, those that they share counted once. The largest
// requests, of a thousand instances with their filters and tags, have a few thousand.
const maxParts = 20_000

// Form is a request: the parts of its parameters' names as a tree.
type Form struct {
	value *string
	kids  map[string]*Form
}

// maxDepth is how many parts a parameter's name may have; EC2's have six.
const maxDepth = 10

// Parse reads a body of the type application/x-www-form-urlencoded. What two readers could take differently is refused:
// a parameter that is there twice, or both as a value and as a list.
func Parse(body []byte) (*Form, error) {
	root, room := &Form{}, maxParts
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := unescape(name)
		if err != nil {
			return nil, err
		}
		if value, err = unescape(value); err != nil {
			return nil, err
		}
		if err := root.put(name, value, &room); err != nil {
			return nil, err
		}
	}
	return root, nil
}

func unescape(text string) (string, error) {
	text, err := url.QueryUnescape(text)
	if err != nil || !utf8.ValidString(text) {
		return "", refuse("MalformedQueryString", "The request is not a form in UTF-8 with percent-encoding")
	}
	return text, nil
}

// put lays a value at its name, which may take parts of the room.
func (f *Form) put(name, value string, room *int) error {
	parts := strings.Split(name, ".")
	if len(parts) > maxDepth {
		return refuse("UnknownParameter", "The parameter %.100s is not recognized", name)
	}
	at := f
	for _, part := range parts {
		if at.value != nil {
			return refuse("MalformedQueryString", "The parameter %.100s is given both as a value and in parts", name)
		}
		if at.kids == nil {
			at.kids = map[string]*Form{}
		}
		next := at.kids[part]
		if next == nil {
			if *room--; *room < 0 {
				return refuse("MalformedQueryString", "The names of the request's parameters have more than %d parts", maxParts)
			}
			next = &Form{}
			at.kids[part] = next
		}
		at = next
	}
	if at.value != nil {
		return refuse("MalformedQueryString", "The parameter %.100s is given twice", name)
	}
	if at.kids != nil {
		return refuse("MalformedQueryString", "The parameter %.100s is given both as a value and in parts", name)
	}
	at.value = &value
	return nil
}

// Take returns the value of a parameter of that name without parts, and takes it out; empty: it is not there.
func (f *Form) Take(name string) string {
	found := f.kids[name]
	if found == nil || found.value == nil {
		return ""
	}
	delete(f.kids, name)
	return *found.value
}
