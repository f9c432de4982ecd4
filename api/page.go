package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/openimds/openimds"
)

// sumSize is the length of what recognises a page token.
const sumSize = 6

// List is the name of what a request asks for page by page: the operation, the region and the question, but for how large
// a page is. A token of another list leads nowhere.
func List(operation, region string, question ...any) string {
	return fmt.Sprintf("%s/%s/%q", operation, region, question)
}

// PageToken makes an opaque token of the place to go on behind; at the end, where there is none, it
// is empty. A token belongs to one list, is the same on every host, and never expires: it says where,
// not when.
func PageToken(list, place string) string {
	if place == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(append(pageSum(list, place), place...))
}

// PagePlace reads a token; the empty one is the beginning. The sum only tells mistakes: a token that
// somebody makes up leads to a place in a list that its owner may read from the beginning.
//
// Errors: InvalidInput/Malformed.
func PagePlace(list, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) <= sumSize || !bytes.Equal(raw[:sumSize], pageSum(list, string(raw[sumSize:]))) {
		return "", openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The page token is not one that was given out for this list")
	}
	return string(raw[sumSize:]), nil
}

func pageSum(list, place string) []byte {
	sum := sha256.Sum256([]byte(list + "\x00" + place))
	return sum[:sumSize]
}
