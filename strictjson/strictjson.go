// Package strictjson walks a JSON text more strictly than encoding/json does, so that two readers of the text
// cannot take it differently: an object has each name once, and the nesting is bounded.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// maxDepth bounds the nesting. What people and APIs write is at most a few deep.
const maxDepth = 32

// ErrTooDeep means that values lie in each other more than 32 deep.
var ErrTooDeep = errors.New("nested too deeply")

// TwiceError means that an object has a name twice, however it is escaped.
type TwiceError struct{ Name string }

// Error quotes no more than the beginning of the name.
func (e *TwiceError) Error() string { return fmt.Sprintf("%.100q occurs twice", e.Name) }

// Walker reads one value, token by token. It reads every value that is under way to its end.
type Walker struct {
	tokens *json.Decoder
	depth  int
}

// Walk begins with a text that [encoding/json.Valid] accepts; of any other the end is missing.
func Walk(text []byte) *Walker {
	w := &Walker{tokens: json.NewDecoder(bytes.NewReader(text))}
	w.tokens.UseNumber()
	return w
}

// Next returns the token that a value begins with: a text, a [json.Number], a truth value, nil, or the bracket
// of what [Walker.Members] or [Walker.Items] has to read next.
func (w *Walker) Next() json.Token {
	token, err := w.tokens.Token()
	if err != nil {
		return nil // the syntax was checked before
	}
	return token
}

// Offset is where the latest token, or name, ends in the text.
func (w *Walker) Offset() int { return int(w.tokens.InputOffset()) }

// More says whether the object or list under way has another member or item.
func (w *Walker) More() bool { return w.tokens.More() }

// Members calls value with the name of each member of an object, for it to read the member's value. It ends
// early with ErrTooDeep, a [*TwiceError], or the error of value.
func (w *Walker) Members(value func(name string) error) error {
	seen := map[string]bool{}
	return w.each(func() error {
		name, _ := w.Next().(string)
		if seen[name] {
			return &TwiceError{name}
		}
		seen[name] = true
		return value(name)
	})
}

// Items calls value for each item of a list, for it to read the item. It ends early with ErrTooDeep or the error
// of value.
func (w *Walker) Items(value func() error) error { return w.each(value) }

func (w *Walker) each(read func() error) error {
	if w.depth++; w.depth > maxDepth {
		return ErrTooDeep
	}
	for w.tokens.More() {
		if err := read(); err != nil {
			return err
		}
	}
	w.depth--
	w.Next() // the closing bracket
	return nil
}

// Skip passes over the value that begins with the token, as strict with what it holds. It ends early with
// ErrTooDeep or a [*TwiceError].
func (w *Walker) Skip(token json.Token) error {
	switch token {
	case json.Delim('{'):
		return w.Members(func(string) error { return w.Skip(w.Next()) })
	case json.Delim('['):
		return w.Items(func() error { return w.Skip(w.Next()) })
	}
	return nil
}
