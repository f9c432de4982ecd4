// Package recording crawls a metadata service and keeps what it answers in a file: one JSON document,
// an item on each line, that people can read, compare and edit.
package recording

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/jsonfile"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/printable"
)

// What a file says of itself. A change that an older program would misread makes a new version.
const (
	format        = "openimds recording"
	formatVersion = 1
)

// MaxFile is the most bytes of a file: what a recording may have, in the longest form of JSON.
const MaxFile = 8 * metadata.MaxRecordedBytes

// fileItem is an item as it stands in a file. A listing's path ends with a slash.
type fileItem struct {
	Path     string  `json:"path"`
	State    string  `json:"state,omitempty"`
	Type     string  `json:"type,omitempty"`
	Modified string  `json:"modified,omitempty"`
	Text     *string `json:"text,omitempty"`
	Base64   *string `json:"base64,omitempty"` // for what is not UTF-8
}

// Encode makes the file of a recording.
func Encode(r *openimds.Recording) ([]byte, error) {
	var b bytes.Buffer
	write := json.NewEncoder(&b)
	write.SetEscapeHTML(false)
	value := func(before string, v any) error {
		b.WriteString(before)
		err := write.Encode(v)
		b.Truncate(b.Len() - 1) // the encoder ends with a line feed
		return err
	}
	err := value("{\n  \"format\": ", format)
	err = cmp.Or(err, value(",\n  \"version\": ", formatVersion))
	err = cmp.Or(err, value(",\n  \"source\": ", r.Source))
	err = cmp.Or(err, value(",\n  \"recordedAt\": ", r.RecordedAt.UTC().Format(time.RFC3339)))
	b.WriteString(",\n  \"items\": [")
	for i := range r.Items {
		separator := ",\n    "
		if i == 0 {
			separator = "\n    "
		}
		err = cmp.Or(err, value(separator, toFile(&r.Items[i])))
	}
	b.WriteString("\n  ]\n}\n")
	return printable.Text(b.Bytes()), err // whoever looks at the file does it at a terminal
}

func toFile(it *openimds.RecordedItem) fileItem {
	f := fileItem{Path: "/" + it.Path, State: string(it.State), Type: it.ContentType}
	if it.Listing && it.Path != "" {
		f.Path += "/"
	}
	if !it.Modified.IsZero() {
		f.Modified = it.Modified.UTC().Format(time.RFC3339)
	}
	switch {
	case it.State == openimds.RecordedAbsent || it.State == openimds.RecordedWithheld:
	case utf8.Valid(it.Body):
		text := string(it.Body)
		f.Text = &text
	default:
		text := base64.StdEncoding.EncodeToString(it.Body)
		f.Base64 = &text
	}
	return f
}

// Decode reads a file, and refuses one that could not be served as it stands.
func Decode(text []byte) (*openimds.Recording, error) {
	top, err := jsonfile.Parse(text)
	if err != nil {
		return nil, err
	}
	keys, err := top.Known("format", "version", "source", "recordedAt", "items")
	if err != nil {
		return nil, err
	}
	for _, needed := range []string{"format", "version", "recordedAt", "items"} {
		if keys[needed] == nil {
			return nil, top.Errorf("there is no %q: this is not a file that 'openimds record' makes", needed)
		}
	}
	if name, err := keys["format"].Text(); err != nil || name != format {
		return nil, cmp.Or(err, keys["format"].Errorf("the format is %q, not %q", name, format))
	}
	if version, err := keys["version"].Int(); err != nil || version != formatVersion {
		return nil, cmp.Or(err, keys["version"].Errorf("the version is %d, this program reads %d: use the newer openimds", version, formatVersion))
	}
	r := &openimds.Recording{}
	if keys["source"] != nil {
		if r.Source, err = keys["source"].Text(); err != nil {
			return nil, err
		}
	}
	if r.RecordedAt, err = timeOf(keys["recordedAt"]); err != nil {
		return nil, err
	}
	items, err := keys["items"].Items()
	if err != nil {
		return nil, err
	}
	first := map[string]int{} // the line of each path
	for _, v := range items {
		it, err := fromFile(v)
		if err == nil {
			err = metadata.ValidateRecordedItem(&it)
			if err != nil {
				err = v.Errorf("%w", err)
			}
		}
		if err != nil {
			return nil, err
		}
		if line, twice := first[it.Path]; twice {
			return nil, v.Errorf("the path is on line %d already", line)
		}
		first[it.Path] = v.Line()
		r.Items = append(r.Items, it)
	}
	return r, metadata.ValidateRecording(r)
}

func fromFile(v *jsonfile.Value) (openimds.RecordedItem, error) {
	var it openimds.RecordedItem
	keys, err := v.Known("path", "state", "type", "modified", "text", "base64")
	if err != nil {
		return it, err
	}
	text := map[string]string{}
	for name, value := range keys {
		if text[name], err = value.Text(); err != nil {
			return it, err
		}
	}
	path, ok := strings.CutPrefix(text["path"], "/")
	if !ok {
		return it, v.Errorf(`the path does not begin with a slash; write it like "/latest/meta-data/ami-id"`)
	}
	it.Path, it.Listing = strings.CutSuffix(path, "/")
	it.Listing = it.Listing || path == ""
	it.State, it.ContentType = openimds.RecordedState(text["state"]), text["type"]
	if keys["modified"] != nil {
		if it.Modified, err = timeOf(keys["modified"]); err != nil {
			return it, err
		}
	}
	switch hasBody := it.State == "" || it.State == openimds.RecordedBlanked; {
	case keys["text"] != nil && keys["base64"] != nil:
		return it, v.Errorf(`there are both "text" and "base64"`)
	case hasBody && keys["text"] == nil && keys["base64"] == nil:
		return it, v.Errorf(`there is neither "text" nor "base64"`)
	case keys["base64"] != nil:
		if it.Body, err = base64.StdEncoding.Strict().DecodeString(text["base64"]); err != nil {
			return it, keys["base64"].Errorf("this is not base64: %w", err)
		}
	case keys["text"] != nil:
		it.Body = []byte(text["text"])
	}
	return it, nil
}

func timeOf(v *jsonfile.Value) (time.Time, error) {
	text, err := v.Text()
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, v.Errorf("%q is not a time such as 2026-01-02T15:04:05Z", text)
	}
	return t.UTC(), nil
}
