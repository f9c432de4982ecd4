package wire

import "github.com/openimds/openimds/api/awsjson"

// CreateConsoleLink changes nothing: whoever signs in by the link has the rights of the key that has signed.
var CreateConsoleLink = looks[Nothing, CreateConsoleLinkResult](openIMDS + "CreateConsoleLink")

// CreateConsoleLinkResult is the token of a link to the console: http://…/console/#link=TOKEN. Token is a secret until it
// was used, once, or has expired.
type CreateConsoleLinkResult struct {
	Token     string        `json:"token"`
	ExpiresAt awsjson.Epoch `json:"expiresAt"`
}
