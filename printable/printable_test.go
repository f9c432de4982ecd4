package printable

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostile has one of each kind that must not be shown.
const hostile = "a\x00\x07\x08\x1b[31m\x7f\u0080\u009b31m\u009d\u00ad\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\U000e0041\U000f0000z"

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"plain text":           "plain text",
		"Zürich, 東京, né\u0301": "Zürich, 東京, né\u0301",
		"one\r\ntwo\tthree":    "one  two three",
		"\x1b[2J":              `\u001b[2J`,
		"a\u009b31mb":          `a\u009b31mb`,
		"x\u202etxt.exe":       `x\u202etxt.exe`,
		"\xff\xc2":             "\ufffd\ufffd",
		"\U000e0041":           `\udb40\udc41`,
		"a\u2028b\u0085c\vd":   "a b c d",
	} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}

// Raw fails the test if text has anything that must not reach a terminal.
func raw(t *testing.T, text []byte, but string) {
	t.Helper()
	if !utf8.Valid(text) {
		t.Errorf("%q is not UTF-8", text)
	}
	for _, r := range string(text) {
		if !shown(r) && !strings.ContainsRune(but, r) {
			t.Errorf("%q has %U", text, r)
		}
	}
}

func TestText(t *testing.T) {
	raw(t, []byte(Line(hostile+"\n\t\xc2")), "")
	raw(t, Text([]byte("\xff\xc2"+hostile+"\n\t\xc2")), "\n\t")
	// JSON stays what it was.
	text, err := json.Marshal(map[string]string{"k" + hostile: hostile})
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]string
	if err := json.Unmarshal(text, &before); err != nil {
		t.Fatal(err)
	}
	safe := Text(text)
	raw(t, safe, "")
	if err := json.Unmarshal(safe, &after); err != nil || after["k"+hostile] != before["k"+hostile] {
		t.Errorf("%q, %v", after, err)
	}
}

func TestWriter(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, part := range []string{"a\n", "\xc2", "\x9b", hostile} { // a control character in two parts
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	raw(t, b.Bytes(), "\n")
}

func FuzzText(f *testing.F) {
	f.Add([]byte(hostile))
	f.Fuzz(func(t *testing.T, text []byte) {
		raw(t, Text(text), "\n\t")
		raw(t, []byte(Line(string(text))), "")
	})
}
