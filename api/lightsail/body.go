package lightsail

import (
	"errors"
	"mime"
	"net/http"
	"strconv"

	"github.com/openimds/openimds/api/awsjson"
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
	return &awsjson.Malformed{Message: "The request's body broke off"}
}
