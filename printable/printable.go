// Package printable makes text that somebody else has written fit to be shown: nothing in it moves a
// terminal's cursor, changes the order of what is read, begins a line of its own, or is not seen. What
// is taken away for that stands there as an escape of JSON, so the same goes for text and for JSON,
// which it leaves as it was to whoever parses it.
package printable

import (
	"bytes"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Line is s on one line: its line ends, tabs and other blanks are blanks, and what cannot be shown is
// escaped.
func Line(s string) string {
	if plain(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s { // invalid UTF-8 is U+FFFD
		switch {
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case shown(r):
			b.WriteRune(r)
		default:
			b.Write(escape(nil, r))
		}
	}
	return b.String()
}

// Text is text of any number of lines with tabs in it, or JSON, with what cannot be shown escaped.
func Text(text []byte) []byte {
	if plain(text) {
		return text
	}
	safe := make([]byte, 0, len(text)+len(text)/8)
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			safe = escape(safe, r)
		case r == '\n' || r == '\t' || shown(r):
			safe = append(safe, text[:n]...)
		default:
			safe = escape(safe, r)
		}
		text = text[n:]
	}
	return safe
}

// plain finds out quickly what most texts are: printable ASCII.
func plain[T string | []byte](text T) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// shown tells what a terminal shows in its place. Left out are control characters (C0, DEL, C1), those
// that turn the direction of writing or have no width, the separators of lines and paragraphs, and
// whatever has no meaning that is known.
func shown(r rune) bool { return unicode.IsPrint(r) || unicode.Is(unicode.Zs, r) }

// escape appends r as JSON spells it: beyond the first 65,536 characters, as two halves.
func escape(to []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
		return escape(escape(to, high), low)
	}
	return append(to, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

// NewWriter makes a writer that passes on to w what [Text] makes of it. A character has to come in one
// Write; of one that does not, each part is escaped.
func NewWriter(w io.Writer) io.Writer { return writer{w} }

type writer struct{ w io.Writer }

// Unwrap is what is written to.
func (w writer) Unwrap() io.Writer { return w.w }

func (w writer) Write(p []byte) (int, error) {
	safe := Text(p)
	n, err := w.w.Write(safe)
	switch {
	case err == nil:
		return len(p), nil
	case bytes.Equal(safe, p):
		return n, err
	}
	return 0, err // how much of p that was cannot be told
}
