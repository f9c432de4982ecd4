package recording_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/recording"
)

func small() *openimds.Recording {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &openimds.Recording{Source: "http://there", RecordedAt: at, Items: []openimds.RecordedItem{
		{Path: "", Listing: true, ContentType: "text/plain", Modified: at, Body: []byte("1.0\nlatest")},
		{Path: "latest", Listing: true, ContentType: "text/plain", Modified: at, Body: []byte("dynamic\nmeta-data\nuser-data")},
		{Path: "latest/meta-data", Listing: true, ContentType: "text/plain", Body: []byte("a\r\nempty\ngone\n")},
		{Path: "latest/meta-data/a", ContentType: "text/plain; charset=x", Modified: at, Body: []byte("<&>\u2028\t\"\\\x00\ufffd")},
		{Path: "latest/meta-data/empty", ContentType: "text/plain", Body: []byte{}},
		{Path: "latest/meta-data/gone", State: openimds.RecordedAbsent},
		{Path: "latest/meta-data/iam/security-credentials/r", ContentType: "text/plain", Body: []byte("{}"), State: openimds.RecordedBlanked},
		{Path: "latest/user-data", ContentType: "application/octet-stream", Body: []byte("\x1f\x8b\x00\xff")},
	}}
}

func TestFileRoundTrip(t *testing.T) {
	want := small()
	text, err := recording.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := recording.Decode(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read\n%+v\nwant\n%+v\nfrom\n%s", got, want, text)
	}
	if lines := bytes.Count(text, []byte("\n")); lines != len(want.Items)+8 {
		t.Errorf("the file has %d lines, an item is not on one:\n%s", lines, text)
	}
}

// Whatever is wrong is said in one line, with its place.
func TestFileErrors(t *testing.T) {
	good, err := recording.Encode(small())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ old, new, want string }{
		{`"version": 1`, `"version": 2`, `line 3: version: the version is 2, this program reads 1: use the newer openimds`},
		{`"version": 1`, `"version": 1.5`, `line 3: version: expected a whole number, not a number`},
		{`"version": 1`, `"version": 1, "version": 1`, `line 3: version: this key is there twice`},
		{`"version": 1,`, `"version": 1`, `line 4: not JSON: `},
		{`"format": "openimds recording"`, `"format": "x"`, `line 2: format: the format is "x", not "openimds recording"`},
		{`"format": "openimds recording",`, ``, `line 1: there is no "format": this is not a file that 'openimds record' makes`},
		{`"source"`, `"sources"`, `line 4: sources: this key is not known here; the keys are format, version, source, recordedAt, items`},
		{`"recordedAt": "2026`, `"recordedAt": "26`, `line 5: recordedAt: "26-01-02T03:04:05Z" is not a time such as`},
		{`"path":"/latest/meta-data/a"`, `"path":"latest/meta-data/a"`, `line 10: items[3]: the path does not begin with a slash`},
		{`"path":"/latest/meta-data/a"`, `"path":"/latest/meta-data/empty"`, `line 11: items[4]: the path is on line 10 already`},
		{`"path":"/latest/meta-data/a"`, `"path":"/latest/meta-data/../a"`, `line 10: items[3]: the recorded path`},
		{`"path":"/latest/meta-data/a"`, `"path":7`, `line 10: items[3].path: expected a text, not a number`},
		{`"path":"/latest/meta-data/a"`, `"pth":"/latest/meta-data/a"`, `line 10: items[3].pth: this key is not known here`},
		{`"type":"application/octet-stream"`, `"type":"a\nb"`, `line 14: items[7]: the recorded item "latest/user-data" has the content type "a\nb", which is none`},
		{`"base64":"H4sA/w=="`, `"base64":"H4sA_w=="`, `line 14: items[7].base64: this is not base64`},
		{`"base64":"H4sA/w=="`, `"text":"","base64":""`, `line 14: items[7]: there are both "text" and "base64"`},
		{`,"base64":"H4sA/w=="`, ``, `line 14: items[7]: there is neither "text" nor "base64"`},
		{`"state":"absent"`, `"state":"lost"`, `line 12: items[5]: the recorded item "latest/meta-data/gone" has the unknown state "lost"`},
		{`"state":"absent"`, `"state":"absent","text":"x"`, `line 12: items[5]: the recorded item "latest/meta-data/gone" is absent and has a body`},
		{`"path":"/latest/meta-data/"`, `"path":"/latest/meta-data"`, `"latest/meta-data", which is not a listing`},
		{`"text":"1.0\nlatest"`, `"text":"1.0"`, `the recording has no list of versions with "latest" in it`},
		{"\n  ]\n}\n", "", `line 14: not JSON: unexpected end of JSON input`},
		{"\n}\n", "\n}\n{}", `not JSON: invalid character '{' after top-level value`},
		{`http://there`, "\xff", `line 4: this is not UTF-8`},
	} {
		text := strings.Replace(string(good), tt.old, tt.new, 1)
		if text == string(good) {
			t.Errorf("%q is not in the file", tt.old)
		}
		r, err := recording.Decode([]byte(text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("with %q: %v, want %s (%v)", tt.new, err, tt.want, r)
		}
	}
	for _, text := range []string{"", "null", "[]", "7", strings.Repeat("[", 100000), strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)} {
		if _, err := recording.Decode([]byte(text)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// FuzzDecode: what is read can be served, and written and read again as the same.
func FuzzDecode(f *testing.F) {
	good, _ := recording.Encode(small())
	f.Add(good)
	f.Add([]byte(`{"format":"openimds recording","version":1,"recordedAt":"2026-01-02T03:04:05Z","items":[]}`))
	f.Add(bytes.ReplaceAll(good, []byte("/latest/meta-data/"), []byte("/latest/meta-data/0=/")))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := recording.Decode(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("the error has several lines: %q", err)
			}
			return
		}
		in := &openimds.Instance{Recording: r, Overlay: map[string]*string{"meta-data/x/y": new("z"), "meta-data/a": nil}}
		v := &metadata.View{Instance: in, Now: time.Now(), Recorded: metadata.NewRecorded(in)}
		for i := range r.Items {
			if it, ok := metadata.Get(v, r.Items[i].Path); ok && strings.ContainsAny(it.ContentType, "\r\n") {
				t.Errorf("the content type %q would end a header", it.ContentType)
			}
		}
		again, err := recording.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := recording.Decode(again); err != nil || len(same.Items) != len(r.Items) {
			t.Errorf("written and read again: %v", err)
		}
	})
}
