package metadata

import (
	"time"
	"unicode/utf8"
)

// The service's JSON documents have a layout of their own, which encoding/json does not know: two
// spaces of indent, a space on both sides of the colon, no line feed at the end. Clients compare
// signatures over these bytes.

// member begins a member of the object that b ends in.
func member(b []byte, indent, key string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '\n')
	b = append(b, indent...)
	b = append(b, '"')
	b = append(b, key...)
	return append(b, `" : `...)
}

func textMember(b []byte, indent, key, value string) []byte {
	return appendJSON(member(b, indent, key), value)
}

func timeMember(b []byte, indent, key string, t time.Time) []byte {
	b = append(member(b, indent, key), '"')
	return append(appendTime(b, t), '"')
}

// appendJSON writes s as a JSON string (RFC 8259, section 7).
func appendJSON[T ~string | ~[]byte](b []byte, s T) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, c := range string(s) { // a byte that is not UTF-8 comes as U+FFFD
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return append(b, '"')
}
