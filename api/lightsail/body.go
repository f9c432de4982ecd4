package lightsail

import (
	"bytes"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/openimds/openimds/api/front"
)

// maxBody is the most bytes of a request. The largest honest one carries 16 KiB of user data.
const maxBody = 1 << 20

func isJSON11(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/x-amz-json-1.1"
}

// unread says why a body was not read.
func unread(err error) error {
	switch {
	case errors.Is(err, front.ErrTooLarge):
		return &wireError{status: http.StatusRequestEntityTooLarge, name: "RequestEntityTooLargeException",
			Message: "A request has at most " + strconv.Itoa(maxBody) + " bytes"}
	case errors.Is(err, front.ErrNoLength):
		return &wireError{status: http.StatusLengthRequired, name: "MissingContentLength",
			Message: "A request says by Content-Length how long its body is"}
	case errors.Is(err, front.ErrBusy): // clients try it again
		return &wireError{status: http.StatusServiceUnavailable, name: "ServiceUnavailableException",
			Message: "Too many large requests at once; try again"}
	}
	return serialization("The request's body broke off")
}

// checkSyntax refuses what is not one JSON object in UTF-8.
func checkSyntax(body []byte) error {
	if !utf8.Valid(body) || !json.Valid(body) {
		return serialization("The request's body is not JSON in UTF-8")
	}
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return serialization("The request's body is not a JSON object")
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
			return serialization("The request's body has half of a surrogate pair")
		}
		high = unit >= 0xd800 && unit < 0xdc00
	}
	return nil
}
