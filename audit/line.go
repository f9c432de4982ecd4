package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/printable"
)

// Bounds of a line in bytes. Requests are bounded elsewhere, but not so that each of their texts may
// stand in a log at any length.
const (
	maxText   = 512
	maxMember = 8 << 10  // of what changed
	maxLine   = 64 << 10 // above it, members are held to maxText
)

// Line is an entry as it stands in the log: one object of JSON, with a line feed behind it. No character
// in it moves a terminal's cursor or turns what is read; what would is escaped.
func Line(e openimds.AuditEntry) ([]byte, error) {
	for _, text := range []*string{&e.Who, &e.What, &e.Resource, &e.RequestID, &e.Source, &e.Change, &e.Failure} {
		*text = shorten(*text)
	}
	line, err := encode(e, maxMember)
	if err == nil && len(line) > maxLine {
		line, err = encode(e, maxText)
	}
	return line, err
}

func encode(e openimds.AuditEntry, most int) ([]byte, error) {
	var err error
	if e.Before, err = members(e.Before, most); err != nil {
		return nil, err
	}
	if e.After, err = members(e.After, most); err != nil {
		return nil, err
	}
	line, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return append(printable.Text(line), '\n'), nil
}

// members replaces those that are too long by how long they are.
func members(all map[string]any, most int) (map[string]any, error) {
	var short map[string]any
	for name, value := range all {
		if short == nil {
			short = make(map[string]any, len(all))
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		if text = printable.Text(text); len(text) > most {
			text = fmt.Appendf(nil, `"[%d bytes]"`, len(text))
		}
		short[name] = json.RawMessage(text)
	}
	return short, nil
}

// shorten keeps the beginning of a text so long that, escaped, it takes at most maxText bytes.
func shorten(s string) string {
	if len(s) <= maxText/6 {
		return s
	}
	room := maxText
	for i, r := range s {
		n := utf8.RuneLen(r)
		if r < ' ' || r > '~' || strings.ContainsRune(`"\<>&`, r) {
			n = 12
		}
		if room -= n; room < 0 {
			return s[:i] + "…"
		}
	}
	return s
}

// entries reads the lines of a log, but for those that are not whole.
func entries(text []byte) []openimds.AuditEntry {
	var all []openimds.AuditEntry
	for line := range bytes.Lines(text) {
		var e openimds.AuditEntry
		if json.Unmarshal(line, &e) == nil {
			all = append(all, e)
		}
	}
	return all
}
