// Package awsjson reads and writes the bodies of AWS's JSON protocols: a request strictly, into a
// structure whose types say what the API's model demands of each member, an answer as AWS writes it.
// An API's shapes are made of its types; which operations there are is the API's to say.
package awsjson

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Malformed says why a body is not a request that can be read. Its text is AWS's where AWS has one, and
// holds no value of the request.
type Malformed struct{ Message string }

// Error is the message.
func (e *Malformed) Error() string { return e.Message }

func malformed(text string) error { return &Malformed{text} }

// CheckSyntax refuses what is not one JSON object in UTF-8: a [*Malformed].
func CheckSyntax(body []byte) error {
	if !utf8.Valid(body) || !json.Valid(body) {
		return malformed("The request's body is not JSON in UTF-8")
	}
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return malformed("The request's body is not a JSON object")
	}
	return checkSurrogates(body)
}

// checkSurrogates refuses half of a surrogate pair, which is no character: encoding/json would put
// another character in its place without a word.
func checkSurrogates(body []byte) error {
	high := false // the escape before was the first half
	for i := 0; i < len(body); i++ {
		unit := uint64(0)
		step := 0
		if body[i] == '\\' {
			step = 1
			if body[i+1] == 'u' { // valid JSON has four digits here
				step = 5
				unit, _ = strconv.ParseUint(string(body[i+2:i+6]), 16, 16)
			}
		}
		i += step
		if isLow := unit >= 0xdc00 && unit < 0xe000; isLow != high {
			return malformed("The request's body has half of a surrogate pair")
		}
		high = unit >= 0xd800 && unit < 0xdc00
	}
	return nil
}

// Marshal writes JSON as AWS does: <, > and & stand for themselves, and nothing follows.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
