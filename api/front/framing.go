package front

import (
	"bytes"
	"strconv"
)

// framing follows the bytes of a connection from one request to the next, and stops at the first that
// two readers could understand differently. It is stricter than HTTP asks: no client of the API sends a
// body in chunks, folds lines or leaves out a carriage return.
type framing struct {
	body    int64 // bytes of the body that are still to come
	inHead  bool  // the head has begun and is not all there
	fields  bool  // the request line is behind
	length  bool  // Content-Length was there
	afterCR bool  // the byte before was a carriage return
	line    []byte
	long    bool   // the line is longer than what is kept of it
	fault   string // what was wrong
}

// keptOfLine is more than any line has whose content matters here.
const keptOfLine = 128

// whole says that the bytes end where a request does.
func (f *framing) whole() bool { return !f.inHead && f.body == 0 }

// pass says how many of the bytes may be passed on: all, or those before the first that is wrong.
func (f *framing) pass(p []byte) int {
	for i := 0; i < len(p); {
		if !f.inHead && f.body > 0 {
			n := min(int64(len(p)-i), f.body)
			f.body -= n
			i += int(n)
			continue
		}
		f.inHead = true
		if f.fault = f.head(p[i]); f.fault != "" {
			return i
		}
		i++
	}
	return len(p)
}

// head takes the next byte of a head, and tells what is wrong with it.
func (f *framing) head(b byte) string {
	switch {
	case b == '\n' && !f.afterCR:
		return "a line feed without carriage return"
	case f.afterCR && b != '\n':
		return "a carriage return within a line"
	case b == 0:
		return "a zero byte"
	case b == '\r':
		f.afterCR = true
		return ""
	case b == '\n':
		f.afterCR = false
		fault := f.endOfLine()
		f.line, f.long = f.line[:0], false
		return fault
	}
	if len(f.line) < keptOfLine {
		f.line = append(f.line, b)
	} else {
		f.long = true
	}
	return ""
}

func (f *framing) endOfLine() string {
	if len(f.line) == 0 {
		if !f.fields {
			return "an empty line before the request"
		}
		f.inHead, f.fields, f.length = false, false, false
		return ""
	}
	if !f.fields {
		f.fields = true
		return ""
	}
	if f.line[0] == ' ' || f.line[0] == '\t' {
		return "a folded line"
	}
	name, value, ok := bytes.Cut(f.line, []byte(":"))
	if !ok && !f.long || bytes.ContainsAny(name, " \t") {
		return "a header line without name and colon"
	}
	switch string(bytes.ToLower(name)) {
	case "transfer-encoding":
		return "a body in another form than Content-Length says"
	case "content-length":
		return f.contentLength(bytes.Trim(value, " \t"))
	}
	return ""
}

func (f *framing) contentLength(value []byte) string {
	n, err := strconv.ParseUint(string(value), 10, 63)
	if err != nil || f.long { // ParseUint takes digits only: no sign, and no underscore in base 10
		return "a Content-Length that is no number"
	}
	if f.length {
		return "two Content-Lengths"
	}
	f.length, f.body = true, int64(n)
	return ""
}
