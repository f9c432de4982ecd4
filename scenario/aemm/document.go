package aemm

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/openimds/openimds/jsonfile"
)

// document writes a value as the service does: texts as they are, documents with a member on each
// line and blanks on both sides of the colon.
func document(v *jsonfile.Value) string {
	if text, ok := v.Scalar(); ok {
		return text
	}
	return string(appendValue(nil, v, ""))
}

func appendValue(b []byte, v *jsonfile.Value, indent string) []byte {
	switch {
	case v.IsNull():
		return append(b, "null"...)
	case v.IsList():
		items, _ := v.Items()
		if len(items) == 0 {
			return append(b, "[]"...)
		}
		b = append(b, '[')
		for i, item := range items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(append(b, ' '), item, indent)
		}
		return append(b, " ]"...)
	case v.IsObject():
		members, _ := v.Members()
		if len(members) == 0 {
			return append(b, "{}"...)
		}
		b = append(b, '{')
		for i, m := range members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(append(b, '\n'), indent+"  "...)
			b = append(appendText(b, spelled(m.Name)), " : "...)
			b = appendValue(b, m, indent+"  ")
		}
		return append(append(append(b, '\n'), indent...), '}')
	case v.IsText():
		text, _ := v.Text()
		return appendText(b, text)
	}
	text, _ := v.Scalar()
	return append(b, text...)
}

func appendText(b []byte, s string) []byte {
	var out bytes.Buffer
	write := json.NewEncoder(&out)
	write.SetEscapeHTML(false)
	_ = write.Encode(s) // a text always has a form
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

// spelled is a key of a document as AWS spells it.
func spelled(key string) string {
	for _, known := range documentKeys {
		if strings.EqualFold(known, key) {
			return known
		}
	}
	return key
}
