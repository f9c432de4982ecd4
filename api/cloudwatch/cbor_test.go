package cloudwatch

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/smithy-go/encoding/cbor"
	"github.com/openimds/openimds/api/awsjson"
)

// TestCBOR: what CBOR says, JSON says after; what no request has is refused.
func TestCBOR(t *testing.T) {
	for in, want := range map[string]string{
		"\xa0":                          `{}`,
		"":                              `{}`,
		"\xbf\xff":                      `{}`,
		"\xa1\x61a\x01":                 `{"a":1}`,
		"\xbf\x61a\x9f\x01\x02\xff\xff": `{"a":[1,2]}`,
		"\xa1\x61a\x80":                 `{"a":[]}`,
		"\xa1\x7f\x61a\x61b\xff\x20":    `{"ab":-1}`,
		"\xa1\x61a\x1b\x00\x00\x00\x00\xff\xff\xff\xff":     `{"a":4294967295}`,
		"\xa1\x61a\xfb\x3f\xf8\x00\x00\x00\x00\x00\x00":     `{"a":1.5}`,
		"\xa1\x61a\xfa\x3f\xc0\x00\x00":                     `{"a":1.5}`,
		"\xa1\x61a\xf9\x3e\x00":                             `{"a":1.5}`,
		"\xa1\x61a\xf9\x00\x01":                             `{"a":5.960464477539063e-08}`,
		"\xa1\x61a\xf9\xc4\x00":                             `{"a":-4}`,
		"\xa1\x61a\xc1\x1a\x65\x00\x00\x00":                 `{"a":1694498816}`,
		"\xa1\x61a\xc1\xfb\x41\xd9\x40\x00\x00\x20\x00\x00": `{"a":1.6944988165e+09}`,
		"\xa1\x61a\xf5":                                     `{"a":true}`,
		"\xa1\x61a\xf4":                                     `{"a":false}`,
		"\xa1\x61a\xf6":                                     `{"a":null}`,
		"\xa1\x61a\xf7":                                     `{"a":null}`,
		"\xa2\x61a\x01\x61a\x02":                            `{"a":1,"a":2}`, // the reader refuses it
		"\xa1\x61a\x64\"<>&":                                `{"a":"\"<>&"}`,
		"\x80":                                              "", "\x01": "", "\xa1": "", "\xa1\x61a": "", "\xa1\x01\x01": "", "\xa0\x00": "", "\xa1\x61a\xff": "", "\xa1\x61a\x1c": "", "\xa1\x61a\x1f": "",
		"\xa1\x61a\x41b": "", "\xa1\x61a\xc2\x41a": "", "\xa1\x61a\xc1\x61a": "", "\xa1\x61a\xc1": "", "\xa1\x61a\xc1\xc1\x01": "", "\xa1\x61a\x61\xff": "", "\xa1\x61\xff\x01": "",
		"\xa1\x61a\x9b\xff\xff\xff\xff\xff\xff\xff\xff": "", "\xbb\x80\x00\x00\x00\x00\x00\x00\x00": "", "\xa1\x61a\x7b\xff\xff\xff\xff\xff\xff\xff\xff": "", "\xa1\x61a\x7f\x7f\xff\xff": "", "\xa1\x61a\x7f\x41a\xff": "",
		"\xa1\x61a\xf9\x7e\x00": "", "\xa1\x61a\xf9\x7c\x00": "", "\xa1\x61a\xfb\x7f\xf0\x00\x00\x00\x00\x00\x00": "", "\xa1\x61a\xf8\x14": "", "\xa1\x61a\xe0": "", "\xbf": "", "\xbf\x61a\x01": "",
		strings.Repeat("\xa1\x61a", 40) + "\x01": "",
	} {
		got, err := jsonOfCBOR([]byte(in))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%x: %s, %v; not %s", in, got, err, want)
		}
	}
}

// FuzzCBOR sends anything through the reading of CBOR: it ends in no panic, and what is accepted is what smithy-go's own
// decoder reads of it, but for names that stand twice, which are then refused.
func FuzzCBOR(f *testing.F) {
	for _, seed := range []string{"\xa0", "\xbf\x61a\x9f\x01\x02\xff\xff", "\xa1\x7f\x61a\x61b\xff\x20", "\xa1\x61a\xc1\xfb\x41\xd9\x40\x00\x00\x20\x00\x00", "\xa2\x61a\xf9\x3e\x00\x61b\xf6", "\xa2\x61a\x01\x61a\x02",
		"\xa1\x69Namespace\x67AWS/EC2"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		text, err := jsonOfCBOR(body)
		if err != nil {
			if len(err.Error()) > 200 {
				t.Errorf("a text of %d bytes", len(err.Error()))
			}
			return
		}
		if !json.Valid(text) || len(text) > 8*len(body)+2+20*len(body) {
			t.Fatalf("%x became %q", body, text)
		}
		for _, found := range table() {
			request := found.request()
			if awsjson.Decode(text, request) == nil {
				_ = awsjson.Check(request)
			}
		}
		if len(body) == 0 || awsjson.Decode(text, new(struct{})) != nil { // a name stands twice somewhere
			return
		}
		value, err := cbor.Decode(body)
		if err != nil {
			t.Fatalf("%x: %v", body, err)
		}
		var ours any
		if err := json.Unmarshal(text, &ours); err != nil {
			t.Fatal(err)
		}
		if theirs := plain(value); !reflect.DeepEqual(ours, theirs) {
			t.Fatalf("%x: %v, not %v", body, ours, theirs)
		}
	})
}

// plain is a value as JSON would have it.
func plain(v cbor.Value) any {
	switch v := v.(type) {
	case cbor.Map:
		m := map[string]any{}
		for name, value := range v {
			m[name] = plain(value)
		}
		return m
	case cbor.List:
		list := []any{}
		for _, item := range v {
			list = append(list, plain(item))
		}
		return list
	case *cbor.Tag:
		return plain(v.Value)
	case cbor.Uint:
		return float64(v)
	case cbor.NegInt:
		if v == 0 { // -2^64
			return -math.Pow(2, 64)
		}
		return -float64(v)
	case cbor.Float32:
		return float64(v)
	case cbor.Float64:
		return float64(v)
	case cbor.Bool:
		return bool(v)
	case cbor.String:
		return string(v)
	}
	return nil
}

// FuzzQuery does the same with forms.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{"Action=a&Version=2010-08-01&Period=60", "Dimensions.member.1.Name=a&Dimensions.member.1.Value=b&Statistics=", "AlarmActions.member.1=a", "Threshold=1e3&ActionsEnabled=true", "StartTime=2026-11-26T12:00:00.5Z"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		form, err := readQuery(body)
		if err != nil {
			return
		}
		for name, found := range table() {
			text, err := form.json(found.request())
			if err != nil {
				continue
			}
			if !json.Valid(text) {
				t.Fatalf("%s: %q became %q", name, body, text)
			}
			request := found.request()
			if awsjson.Decode(text, request) == nil {
				_ = awsjson.Check(request)
			}
		}
	})
}
