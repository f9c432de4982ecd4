package imds

import (
	"net/http"
	"strconv"
	"time"

	"github.com/openimds/openimds/usage"
)

// response is an answer as values; [response.append] gives it its bytes.
type response struct {
	status int
	// allow is the value of Allow; empty: no such header.
	allow string
	// ttl is the value of X-Aws-Ec2-Metadata-Token-Ttl-Seconds; 0: no such header.
	ttl         int
	contentType string
	// modified is the value of Last-Modified; it and Accept-Ranges stand on answers that hold data.
	modified time.Time
	body     []byte
	listing  bool // body is the listing of a directory
	call     usage.Call
	// rehearsed: a rehearsal of required tokens found that they would have refused this.
	rehearsed bool
	// refusal is why this is not what was asked for.
	refusal usage.Refusal
}

const (
	typePlain = "text/plain"
	typeHTML  = "text/html"
)

// empty is an answer without a body: all that AWS records of refusals, bar the 404 and 417 pages.
func empty(status int) response { return response{status: status, contentType: typePlain} }

// page is an error with the page that AWS sends.
func page(status int) response {
	return response{status: status, contentType: typeHTML, body: pages[status]}
}

// pages are the error pages of AWS's server, byte for byte; the page of a 404 has 339 bytes.
var pages = map[int][]byte{
	404: errorPage("404 - Not Found"),
	417: errorPage("417 - Expectation Failed"),
}

func errorPage(title string) []byte {
	return []byte(`<?xml version="1.0" encoding="iso-8859-1"?>` + "\n" +
		`<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"` + "\n" +
		"\t\t " + `"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">` + "\n" +
		`<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">` + "\n" +
		" <head>\n  <title>" + title + "</title>\n </head>\n <body>\n  <h1>" + title + "</h1>\n </body>\n</html>\n")
}

// reason is the reason phrase as AWS words it: its 405 is "Not Allowed".
func reason(status int) string {
	if status == 405 {
		return "Not Allowed"
	}
	return http.StatusText(status)
}

// append appends the bytes of the answer: status line, headers in the order that AWS's Nitro
// generation sends them, and the body unless only the head was asked for. date is the value of Date.
func (r *response) append(dst []byte, minor int, headOnly bool, date []byte) []byte {
	dst = append(dst, "HTTP/1."...)
	dst = append(dst, byte('0'+minor), ' ')
	dst = strconv.AppendInt(dst, int64(r.status), 10)
	dst = append(dst, ' ')
	dst = append(dst, reason(r.status)...)
	dst = append(dst, "\r\n"...)
	if r.ttl > 0 {
		dst = append(dst, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds: "...)
		dst = strconv.AppendInt(dst, int64(r.ttl), 10)
		dst = append(dst, "\r\n"...)
	}
	if r.allow != "" {
		dst = append(dst, "Allow: "...)
		dst = append(dst, r.allow...)
		dst = append(dst, "\r\n"...)
	}
	// Answers with data or a page name their type first; those of the token layer, last.
	typeFirst := !r.modified.IsZero() || r.contentType == typeHTML
	if typeFirst {
		dst = appendType(dst, r.contentType)
	}
	if !r.modified.IsZero() {
		dst = append(dst, "Accept-Ranges: none\r\nLast-Modified: "...)
		dst = r.modified.UTC().AppendFormat(dst, http.TimeFormat)
		dst = append(dst, "\r\n"...)
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(r.body)), 10)
	dst = append(dst, "\r\nDate: "...)
	dst = append(dst, date...)
	dst = append(dst, "\r\nServer: EC2ws\r\nConnection: close\r\n"...)
	if !typeFirst {
		dst = appendType(dst, r.contentType)
	}
	dst = append(dst, "\r\n"...)
	if headOnly {
		return dst
	}
	return append(dst, r.body...)
}

func appendType(dst []byte, contentType string) []byte {
	dst = append(dst, "Content-Type: "...)
	dst = append(dst, contentType...)
	return append(dst, "\r\n"...)
}
