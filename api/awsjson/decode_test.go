package awsjson_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/awsjson"
)

type (
	word string
	port int
	tag  struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
)

// sample has a member of every type that requests are made of.
type sample struct {
	Text    string             `json:"text"`
	Word    *word              `json:"word"`
	Whole   *int               `json:"whole"`
	Port    port               `json:"port"`
	Real    *awsjson.Double    `json:"real"`
	Switch  bool               `json:"switch"`
	When    *awsjson.Epoch     `json:"when"`
	Data    *awsjson.Blob      `json:"data"`
	Texts   []string           `json:"texts"`
	Parts   []tag              `json:"parts"`
	Part    *tag               `json:"part"`
	Layer   map[string]*string `json:"layer"`
	Refused awsjson.Unbuilt    `json:"refused"`
}

// read does what the API does with a body.
func read(body string) (sample, error) {
	var s sample
	if err := awsjson.CheckSyntax([]byte(body)); err != nil {
		return s, err
	}
	return s, awsjson.Decode([]byte(body), &s)
}

func TestDecode(t *testing.T) {
	x, empty := "x", ""
	for body, want := range map[string]sample{
		`{}`:              {},
		" \t\r\n{ }\n":    {},
		`{"text":"a\tb"}`: {Text: "a\tb"},
		`{"text":null,"whole":null,"texts":null,"part":null,"layer":null,"refused":null,"when":null,"data":null}`: {},
		`{"text":"\u00fc\ud83d\ude00\\ud83d"}`:                  {Text: `ü😀\ud83d`},
		`{"unknown":{"text":"no","a":[1,{"b":[]}]},"text":"x"}`: {Text: "x"},
		`{"word":""}`:               {Word: new(word(""))},
		`{"whole":0}`:               {Whole: new(0)},
		`{"whole":-7}`:              {Whole: new(-7)},
		`{"whole":1e2}`:             {Whole: new(100)},
		`{"whole":2.0}`:             {Whole: new(2)},
		`{"port":65536}`:            {Port: 65536},
		`{"real":1}`:                {Real: new(awsjson.Double(1))},
		`{"real":1.5E-3}`:           {Real: new(awsjson.Double(0.0015))},
		`{"switch":true}`:           {Switch: true},
		`{"when":0}`:                {When: &awsjson.Epoch{Time: time.Unix(0, 0).UTC()}},
		`{"when":1704067200}`:       {When: &awsjson.Epoch{Time: time.Unix(1704067200, 0).UTC()}},
		`{"when":1704067200.5}`:     {When: &awsjson.Epoch{Time: time.Unix(1704067200, 5e8).UTC()}},
		`{"when":1.590771192493E9}`: {When: &awsjson.Epoch{Time: time.Unix(1590771192, 493e6).UTC()}},
		`{"when":-1.5}`:             {When: &awsjson.Epoch{Time: time.Unix(-2, 5e8).UTC()}},
		`{"data":"AP8="}`:           {Data: &awsjson.Blob{0, 255}},
		`{"data":""}`:               {Data: &awsjson.Blob{}},
		`{"texts":[]}`:              {Texts: []string{}},
		`{"texts":["a","b"]}`:       {Texts: []string{"a", "b"}},
		`{"parts":[{"key":"k","value":"v","other":1},{}]}`: {Parts: []tag{{Key: "k", Value: "v"}, {}}},
		`{"part":{"value":"v"}}`:                           {Part: &tag{Value: "v"}},
		`{"layer":{"a":"x","b":null,"A":""}}`:              {Layer: map[string]*string{"a": &x, "b": nil, "A": &empty}},
		`{"refused":[]}`:                                   {},
		`{"refused":[{}]}`:                                 {Refused: true},
		`{"refused":{"a":[1,2]},"text":"x"}`:               {Refused: true, Text: "x"},
		`{"refused":["a",["b"]],"text":"x"}`:               {Refused: true, Text: "x"},
		`{"refused":false}`:                                {Refused: true},
	} {
		got, err := read(body)
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, not %+v", body, got, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for body, want := range map[string]string{
		`{"text":"a","text":"a"}`:             "The member 'text' occurs twice",
		`{"text":"a","te\u0078t":"a"}`:        "The member 'text' occurs twice",
		`{"unknown":1,"unknown":2}`:           "The member 'unknown' occurs twice",
		`{"unknown":[{"a":1,"a":2}]}`:         "The member 'a' occurs twice",
		`{"parts":[{"key":"a","key":"b"}]}`:   "The member 'key' occurs twice",
		`{"layer":{"a":"1","a":null}}`:        "The member 'a' occurs twice",
		`{"refused":{"a":1,"a":2}}`:           "The member 'a' occurs twice",
		`{"Text":"a"}`:                        "The member 'Text' is spelled 'text'",
		`{"text":"a","TEXT":"b"}`:             "The member 'TEXT' is spelled 'text'",
		"{\"text\u017f\":1,\"part\u017f\":1}": "The member 'text\u017f' is spelled 'texts'", // ſ folds to s
		`{"text":7}`:                          "NUMBER_VALUE can not be converted to a String",
		`{"text":7.5}`:                        "DECIMAL_VALUE can not be converted to a String",
		`{"text":false}`:                      "FALSE_VALUE can not be converted to a String",
		`{"text":{}}`:                         "Start of structure or map found where not expected.",
		`{"text":[]}`:                         "Start of list found where not expected",
		`{"switch":"true"}`:                   "STRING_VALUE can not be converted to a Boolean",
		`{"switch":1}`:                        "NUMBER_VALUE can not be converted to a Boolean",
		`{"whole":"1"}`:                       "STRING_VALUE can not be converted to an Integer",
		`{"whole":1.5}`:                       "DECIMAL_VALUE can not be converted to an Integer",
		`{"whole":2147483648}`:                "NUMBER_VALUE can not be converted to an Integer",
		`{"whole":1e400}`:                     "DECIMAL_VALUE can not be converted to an Integer",
		`{"real":"NaN"}`:                      "STRING_VALUE can not be converted to a Double",
		`{"real":1e400}`:                      "DECIMAL_VALUE can not be converted to a Double",
		`{"when":"2026-11-22T12:00:00Z"}`:     "STRING_VALUE can not be converted to a Timestamp",
		`{"when":1e12}`:                       "a timestamp is out of range",
		`{"when":[]}`:                         "Start of list found where not expected",
		`{"data":"AP8"}`:                      "only base-64-encoded strings are convertible to bytes",
		`{"data":"AP9="}`:                     "only base-64-encoded strings are convertible to bytes", // bits that nobody reads
		`{"data":[1]}`:                        "Start of list found where not expected",
		`{"texts":"a"}`:                       "Expected list or null",
		`{"texts":{}}`:                        "Start of structure or map found where not expected.",
		`{"texts":[1]}`:                       "NUMBER_VALUE can not be converted to a String",
		`{"part":"a"}`:                        "Expected structure or null",
		`{"part":[]}`:                         "Start of list found where not expected",
		`{"layer":7}`:                         "Expected structure or null",
		`{"a":` + strings.Repeat(`{"a":`, 40) + `1` + strings.Repeat(`}`, 41): "The request is nested too deeply",
		`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`:     "The request is nested too deeply",
		`{"text":"\ud83d"}`:             "The request's body has half of a surrogate pair",
		`{"text":"\ude00\ud83d"}`:       "The request's body has half of a surrogate pair",
		`{"text":"\ud83dx\ude00"}`:      "The request's body has half of a surrogate pair",
		`{"text":"\ud83d\n"}`:           "The request's body has half of a surrogate pair",
		`{"text":"\ud83d\ud83d\ude00"}`: "The request's body has half of a surrogate pair",
		`{"\ud83d":1}`:                  "The request's body has half of a surrogate pair",
		`[]`:                            "The request's body is not a JSON object",
		`null`:                          "The request's body is not a JSON object",
		`"{}"`:                          "The request's body is not a JSON object",
		``:                              "The request's body is not JSON in UTF-8",
		`{"a":NaN}`:                     "The request's body is not JSON in UTF-8",
		`{"a":1,}`:                      "The request's body is not JSON in UTF-8",
		"{\"a\":\"\xc0\xaf\"}":          "The request's body is not JSON in UTF-8",
		`{"a":1} x`:                     "The request's body is not JSON in UTF-8",
	} {
		got, err := read(body)
		e, ok := errors.AsType[*awsjson.Malformed](err)
		if !ok || e.Message != want {
			t.Errorf("%.60s: %+v, %v; not %s", body, got, err, want)
		}
	}
}

// FuzzDecode sends anything through the reading of a request. What passes is what encoding/json reads
// too.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"text":"a","whole":1,"real":2.5,"switch":true,"when":1704067200.5,"data":"AP8=","texts":["a"],"parts":[{"key":"k"}],"part":{},"layer":{"a":null},"refused":[]}`,
		`{"text":"\ud83d\ude00"}`, `{"Text":"a"}`, `{"text":1,"text":2}`, `{"whole":1e2}`, `{"when":-1.5}`, `{"a":[[[[]]]]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if awsjson.CheckSyntax(body) != nil {
			return
		}
		var ours sample
		if awsjson.Decode(body, &ours) != nil {
			return
		}
		// Types that encoding/json reads otherwise are left out here.
		var theirs struct {
			Text   string             `json:"text"`
			Switch bool               `json:"switch"`
			Real   *float64           `json:"real"`
			Texts  []string           `json:"texts"`
			Parts  []tag              `json:"parts"`
			Layer  map[string]*string `json:"layer"`
		}
		if err := json.Unmarshal(body, &theirs); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", body, err)
		}
		if ours.Text != theirs.Text || ours.Switch != theirs.Switch || !reflect.DeepEqual(ours.Texts, theirs.Texts) || !reflect.DeepEqual(ours.Parts, theirs.Parts) ||
			!reflect.DeepEqual(ours.Layer, theirs.Layer) || (ours.Real == nil) != (theirs.Real == nil) || ours.Real != nil && float64(*ours.Real) != *theirs.Real {
			t.Errorf("%q: %+v, encoding/json reads %+v", body, ours, theirs)
		}
	})
}

func TestEncode(t *testing.T) {
	for want, v := range map[string]any{
		`1571679872.404`:    awsjson.Epoch{Time: time.UnixMilli(1571679872404)},
		`1704067200.000`:    awsjson.Epoch{Time: time.Unix(1704067200, 999_999)},
		`5.0`:               awsjson.Double(5),
		`0.5`:               awsjson.Double(0.5),
		`-0.25`:             awsjson.Double(-0.25),
		`1e+21`:             awsjson.Double(1e21),
		`{"a":"<&>\u2028"}`: map[string]string{"a": "<&>\u2028"},
	} {
		if got, err := awsjson.Marshal(v); err != nil || string(got) != want {
			t.Errorf("%v: %s, %v; not %s", v, got, err, want)
		}
	}
	if got, err := awsjson.Marshal(awsjson.Double(math.NaN())); err == nil {
		t.Errorf("NaN became %s", got)
	}
}
