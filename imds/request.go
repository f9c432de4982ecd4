package imds

import (
	"bytes"
	"strconv"
)

// Limits of a request's head in bytes. AWS records none; these are far above what any client sends.
const (
	maxRequestLine = 8 << 10
	maxHead        = 16 << 10
)

// method is a request's method; the service tells apart only those that it serves.
type method uint8

const (
	methodOther method = iota
	methodGet
	methodHead
	methodPut
	methodOptions
)

// request is the head of a request, as far as an answer depends on it. Its slices point into the
// buffer that was parsed.
//
// The service reads no body and serves one request a connection, so no disagreement about where a
// request ends can make it run a second one.
type request struct {
	method method
	// other is a method's name that is none of those.
	other  []byte
	target []byte
	// partial says that not all of the head was there when it was refused.
	partial bool
	// minor is the minor HTTP version, 0 or 1: the answer repeats it.
	minor int

	host      []byte
	hostCount int

	token      []byte
	tokenCount int
	ttl        []byte
	ttlCount   int

	userAgent []byte
	forwarded bool // X-Forwarded-For is there, be it empty
	origin    bool // Origin is there: a browser
	expect    bool

	contentLength int // how often; its value does not matter
	hasBody       bool
	chunked       int
}

// statusError is the status that a request earns which cannot be understood.
type statusError int

func (e statusError) Error() string { return strconv.Itoa(int(e)) + " " + reason(int(e)) }

// hasToken says whether a token came along. A header without a value is none: clients send one when
// they could not get a token.
func (r *request) hasToken() bool { return r.tokenCount > 1 || len(r.token) > 0 }

// headEnd returns the length of the head at the start of buf, or 0 while it is not complete.
func headEnd(buf []byte) (int, error) {
	head := afterEmptyLine(buf)
	if i := bytes.Index(head, []byte("\r\n\r\n")); i >= 0 {
		if i+4 > maxHead {
			return 0, statusError(431)
		}
		return len(buf) - len(head) + i + 4, nil
	}
	return 0, incomplete(head)
}

// afterEmptyLine skips one empty line before the request line, as RFC 9112, section 2.2 asks of a
// server: old clients end a body with a line feed that its length does not count.
func afterEmptyLine(buf []byte) []byte {
	if len(buf) == 1 && buf[0] == '\r' {
		return nil // the beginning of one
	}
	return bytes.TrimPrefix(buf, crlf)
}

// incomplete says whether a head that is not all there can still become one.
func incomplete(buf []byte) error {
	const longestLine = maxRequestLine + len("\r\n")
	if len(buf) >= maxHead || len(buf) > longestLine && bytes.IndexByte(buf[:longestLine], '\n') < 0 {
		return statusError(431)
	}
	// A line feed without its carriage return ends no line here, so the head would never end: say so
	// now instead of waiting. The same goes for what is no HTTP at all.
	for rest, at := buf, 0; ; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			break
		}
		if at+i == 0 || buf[at+i-1] != '\r' {
			return statusError(400)
		}
		at += i + 1
		rest = buf[at:]
	}
	if len(buf) > 0 && !isToken[buf[0]] {
		return statusError(400)
	}
	if line, _, ok := bytes.Cut(buf, crlf); ok && len(line) <= maxRequestLine {
		return new(request).parseLine(line)
	}
	return nil
}

// parse reads a complete head, which ends with an empty line. It is stricter than RFC 9112 demands
// of a server, for what it refuses no client of this service sends: line feeds alone, folded lines,
// blanks before a colon, lengths that contradict each other.
func (r *request) parse(head []byte) error {
	*r = request{minor: 1}
	line, rest, _ := bytes.Cut(afterEmptyLine(head), crlf)
	if len(line) > maxRequestLine {
		return statusError(431)
	}
	if err := r.parseLine(line); err != nil {
		return err
	}
	for {
		line, rest, _ = bytes.Cut(rest, crlf)
		if len(line) == 0 {
			break
		}
		if err := r.parseHeader(line); err != nil {
			return err
		}
	}
	switch {
	case r.hostCount > 1, r.hostCount == 0 && r.minor == 1:
		return statusError(400)
	case r.contentLength > 1, r.contentLength > 0 && r.chunked > 0, r.chunked > 1:
		return statusError(400)
	case r.chunked > 0 && r.minor == 0:
		return statusError(400)
	}
	return nil
}

var crlf = []byte("\r\n")

// parseLine reads METHOD SP TARGET SP HTTP/1.x.
func (r *request) parseLine(line []byte) error {
	name, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || !allToken(name) {
		return statusError(400)
	}
	target, version, ok := bytes.Cut(rest, []byte(" "))
	if !ok || len(target) == 0 {
		return statusError(400)
	}
	for _, c := range target {
		if c <= ' ' || c == 0x7f {
			return statusError(400)
		}
	}
	if len(version) != len("HTTP/1.1") || string(version[:5]) != "HTTP/" || version[6] != '.' ||
		!isDigit(version[5]) || !isDigit(version[7]) {
		return statusError(400)
	}
	if version[5] != '1' {
		return statusError(505)
	}
	if version[7] == '0' {
		r.minor = 0
	}
	r.target = target
	switch string(name) {
	case "GET":
		r.method = methodGet
	case "HEAD":
		r.method = methodHead
	case "PUT":
		r.method = methodPut
	case "OPTIONS":
		r.method = methodOptions
	default:
		r.other = name
	}
	return nil
}

// salvage reads of a head that is refused what tells who asks for what, by which protocol. It takes line feeds for
// the ends of lines, and passes over what it cannot read; end is where the head ends, 0 if that is not known.
func (r *request) salvage(buf []byte, end int) {
	*r = request{minor: 1, partial: end == 0}
	if end > 0 {
		buf = buf[:end]
	}
	line, rest, _ := bytes.Cut(afterEmptyLine(buf), []byte("\n"))
	if r.parseLine(bytes.TrimSuffix(line, []byte("\r"))) != nil {
		r.method, r.other, r.target = methodOther, nil, nil
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
			r.partial = false
			return
		}
		_ = r.parseHeader(line)
	}
}

// parseHeader reads one NAME ":" OWS VALUE OWS and notes it if an answer depends on it.
func (r *request) parseHeader(line []byte) error {
	name, value, ok := cutHeader(line)
	if !ok {
		return statusError(400)
	}
	// The length tells most names apart, so that an ordinary request costs few comparisons.
	switch len(name) {
	case len("Host"):
		if is(name, "host") {
			r.host = value
			r.hostCount++
		}
	case len("Origin"):
		r.origin = r.origin || is(name, "origin")
		r.expect = r.expect || is(name, "expect") // which is as long
	case len("User-Agent"):
		if is(name, "user-agent") {
			r.userAgent = value
		}
	case len("Content-Length"):
		if is(name, "content-length") {
			return r.noteLength(value)
		}
	case len("X-Forwarded-For"):
		r.forwarded = r.forwarded || is(name, "x-forwarded-for")
	case len("Transfer-Encoding"):
		if is(name, "transfer-encoding") {
			return r.noteEncoding(value)
		}
	case len("X-aws-ec2-metadata-token"):
		if is(name, "x-aws-ec2-metadata-token") {
			r.token = value
			r.tokenCount++
		}
	case len("X-aws-ec2-metadata-token-ttl-seconds"):
		if is(name, "x-aws-ec2-metadata-token-ttl-seconds") {
			r.ttl = value
			r.ttlCount++
		}
	}
	return nil
}

// cutHeader cuts a header into its name and its value; false: it is none.
func cutHeader(line []byte) (name, value []byte, ok bool) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return nil, nil, false
	}
	name, value = line[:colon], bytes.Trim(line[colon+1:], " \t")
	if !allToken(name) {
		return nil, nil, false
	}
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, nil, false
		}
	}
	return name, value, true
}

// noteLength takes note of a Content-Length, of which only matters whether it is 0.
func (r *request) noteLength(value []byte) error {
	if len(value) == 0 || len(value) > 18 {
		return statusError(400)
	}
	for _, c := range value {
		if !isDigit(c) {
			return statusError(400)
		}
		r.hasBody = r.hasBody || c != '0'
	}
	r.contentLength++
	return nil
}

// noteEncoding takes note of a Transfer-Encoding.
func (r *request) noteEncoding(value []byte) error {
	if !is(value, "chunked") {
		return statusError(501)
	}
	r.hasBody = true
	r.chunked++
	return nil
}

// is compares without regard to the case of ASCII letters; lower is in lower case.
func is(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isToken marks the characters of a token (RFC 9110, section 5.6.2).
var isToken = func() (t [256]bool) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
		t[c] = true
	}
	return t
}()

func allToken(name []byte) bool {
	for _, c := range name {
		if !isToken[c] {
			return false
		}
	}
	return len(name) > 0
}
