package attest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/openimds/openimds"
)

// A sealed file is a body with its signature behind it, where a browser and a reader of JSON look past it: as
// a last comment of HTML, or as the last member of the object. There is one way to write each, so that no byte
// of the file can be another.
const (
	htmlMark = "<!-- openimds-signature "
	htmlEnd  = " -->\n"
	jsonMark = ",\n  \"signature\": "
	jsonEnd  = "\n}\n"
)

// The reasons why a file cannot be trusted.
var (
	ErrUnsigned = errors.New("it has no signature")
	ErrChanged  = errors.New("it was changed after it was signed")
	ErrKey      = errors.New("it was signed by another key")
)

// MaxFile is how large a sealed file may be, in bytes, for whoever reads it as a whole.
const MaxFile = 256 << 20

// Seal puts a signature behind a body. A body of JSON is an object, indented by two blanks, with a line feed
// behind it; any other is HTML.
func Seal(body []byte, s openimds.ReportSignature) ([]byte, error) {
	keep, tail, err := Tail(int64(len(body)), isJSON(body), s)
	if err != nil {
		return nil, err
	}
	if isJSON(body) && string(body[keep:]) != jsonEnd {
		return nil, errors.New("the report is no object that a signature can be put into")
	}
	return append(bytes.Clone(body[:keep]), tail...), nil
}

// Tail is what Seal makes of a body of that size, for whoever has it in a file: so much of the body is kept, and then comes tail.
func Tail(size int64, asJSON bool, s openimds.ReportSignature) (keep int64, tail []byte, err error) {
	if asJSON {
		text, err := json.MarshalIndent(s, "  ", "  ")
		return max(size-int64(len(jsonEnd)), 0), fmt.Appendf(nil, "%s%s%s", jsonMark, text, jsonEnd), err
	}
	text, err := json.Marshal(s)
	return size, fmt.Appendf(nil, "%s%s%s", htmlMark, base64.StdEncoding.EncodeToString(text), htmlEnd), err
}

// open parts a sealed file into the body and the signature.
func open(file []byte) (body []byte, s openimds.ReportSignature, err error) {
	mark := htmlMark
	if isJSON(file) {
		mark = jsonMark
	}
	at := bytes.LastIndex(file, []byte(mark))
	if at < 0 {
		return nil, s, ErrUnsigned
	}
	body, rest := bytes.Clone(file[:at]), file[at+len(mark):]
	if isJSON(file) {
		body = append(body, jsonEnd...)
		err = json.Unmarshal(bytes.TrimSuffix(rest, []byte(jsonEnd)), &s)
	} else {
		var text []byte
		if text, err = base64.StdEncoding.DecodeString(string(bytes.TrimSuffix(rest, []byte(htmlEnd)))); err == nil {
			err = json.Unmarshal(text, &s)
		}
	}
	if err != nil {
		return nil, s, ErrChanged
	}
	// What can be read in several ways was written in one.
	again, err := Seal(body, s)
	if err != nil || !bytes.Equal(again, file) {
		return nil, s, ErrChanged
	}
	return body, s, nil
}

// Named is the fingerprint of the key that a sealed file names. Whoever has changed the file may have put
// another one in: it proves nothing until it is known from elsewhere.
func Named(file []byte) (string, error) {
	_, s, err := open(file)
	return Fingerprint(s.PublicKey), err
}

// Verify says whether a file is what was signed by the key of that fingerprint, and what the signature states.
// Errors are [ErrUnsigned], [ErrChanged] and [ErrKey].
func Verify(file []byte, fingerprint string) (openimds.ReportStatement, error) {
	body, s, err := open(file)
	if err != nil {
		return openimds.ReportStatement{}, err
	}
	if len(s.PublicKey) != ed25519.PublicKeySize || !ed25519.Verify(s.PublicKey, []byte(s.Statement), s.Signature) {
		return openimds.ReportStatement{}, ErrChanged
	}
	stated, err := parseStatement(s.Statement)
	if err != nil || stated.Digest != Digest(body) {
		return openimds.ReportStatement{}, ErrChanged
	}
	if Fingerprint(s.PublicKey) != fingerprint {
		return openimds.ReportStatement{}, ErrKey
	}
	return stated, nil
}

func isJSON(text []byte) bool { return bytes.HasPrefix(text, []byte("{")) }
