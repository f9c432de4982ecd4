package lightsail

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// maxBody is the most bytes of a request. The largest honest one carries 16 KiB of user data.
const maxBody = 1 << 20

func isJSON11(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/x-amz-json-1.1"
}

// readBody reads the whole body before anything looks at it: its hash is part of what is signed.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, &wireError{status: http.StatusRequestEntityTooLarge, name: "RequestEntityTooLargeException",
			Message: "A request has at most " + strconv.Itoa(maxBody) + " bytes"}
	}
	if err != nil {
		return nil, serialization("The request's body broke off")
	}
	return body, nil
}

// checkSyntax refuses what is not one JSON object in UTF-8. It keeps nothing, so that a request
// without a signature costs no more than its bytes.
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
