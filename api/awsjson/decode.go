package awsjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/openimds/openimds/strictjson"
)

// Decode reads a request, which [CheckSyntax] has passed, into the structure that into points to.
//
// It is stricter than encoding/json where two readers of one body could understand it differently:
// names must match to the letter, and no object may have a name twice. Members that nobody knows are
// passed over, since AWS's clients are often newer than their service; null is as good as nothing.
// A failure is a [*Malformed].
func Decode(body []byte, into any) error {
	d := decoder{strictjson.Walk(body), maxItems}
	err := d.value(reflect.ValueOf(into).Elem(), d.Next())
	if twice, ok := errors.AsType[*strictjson.TwiceError](err); ok {
		return malformed(fmt.Sprintf("The member '%.100s' occurs twice", twice.Name))
	}
	if errors.Is(err, strictjson.ErrTooDeep) {
		return malformed("The request is nested too deeply")
	}
	return err
}

// maxItems is how many items the lists and maps of a request may have altogether. Three bytes of a body, {}, may be a structure of
// hundreds. The largest requests are of recordings, which have a few hundred.
const maxItems = 20_000

type decoder struct {
	*strictjson.Walker
	room int // for further items
}

// item takes room for one.
func (d *decoder) item() error {
	if d.room--; d.room < 0 {
		return malformed(fmt.Sprintf("The lists of the request have more than %d items", maxItems))
	}
	return nil
}

// value reads one value, which begins with the token, into v.
func (d *decoder) value(v reflect.Value, token json.Token) error {
	if token == nil {
		return nil
	}
	if refused, ok := v.Addr().Interface().(*Unbuilt); ok {
		return d.presence(refused, token)
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(v.Elem(), token)
	}
	if delim, ok := token.(json.Delim); ok {
		return d.composite(v, delim)
	}
	return scalar(v, token)
}

// composite reads an object or a list.
func (d *decoder) composite(v reflect.Value, delim json.Delim) error {
	_, isBlob := v.Addr().Interface().(*Blob)
	_, isTime := v.Addr().Interface().(*Epoch)
	switch {
	case delim == '{' && v.Kind() == reflect.Struct && !isTime:
		return d.object(v)
	case delim == '{' && v.Kind() == reflect.Map:
		return d.entries(v)
	case delim == '{':
		return malformed("Start of structure or map found where not expected.")
	case v.Kind() == reflect.Slice && !isBlob:
		return d.list(v)
	default:
		return malformed("Start of list found where not expected")
	}
}

func (d *decoder) object(v reflect.Value) error {
	return d.Members(func(name string) error {
		for i := range v.NumField() {
			known := MemberName(v.Type().Field(i))
			if known == name {
				return d.value(v.Field(i), d.Next())
			}
			if strings.EqualFold(known, name) {
				// Passed over, it would leave a switch as it is that somebody meant to turn.
				return malformed(fmt.Sprintf("The member '%.100s' is spelled '%s'", name, known))
			}
		}
		return d.Skip(d.Next())
	})
}

// MemberName is the name of a structure's member on the wire.
func MemberName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// entries reads an object whose names are data. In the maps of this API null is a value.
func (d *decoder) entries(v reflect.Value) error {
	v.Set(reflect.MakeMap(v.Type()))
	return d.Members(func(name string) error {
		if err := d.item(); err != nil {
			return err
		}
		value := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(value, d.Next()); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(name), value)
		return nil
	})
}

func (d *decoder) list(v reflect.Value) error {
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	return d.Items(func() error {
		if err := d.item(); err != nil {
			return err
		}
		item := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(item, d.Next()); err != nil {
			return err
		}
		v.Set(reflect.Append(v, item))
		return nil
	})
}

// presence notes that there is a value. An empty list asks for nothing.
func (d *decoder) presence(there *Unbuilt, token json.Token) error {
	*there = token != json.Delim('[') || Unbuilt(d.More())
	return d.Skip(token)
}

// scalar reads a text, number or truth value.
func scalar(v reflect.Value, token json.Token) error {
	switch to := v.Addr().Interface().(type) {
	case *Epoch:
		if n, ok := token.(json.Number); ok {
			return asMalformed(to.readNumber(n))
		}
		return wrongType(token, "a Timestamp")
	case *Blob:
		if s, ok := token.(string); ok {
			return asMalformed(to.readString(s))
		}
		return wrongType(token, "a Blob")
	}
	switch v.Kind() {
	case reflect.String:
		s, ok := token.(string)
		if !ok {
			return wrongType(token, "a String")
		}
		if of, ok := v.Interface().(Caseless); ok {
			for _, word := range of.Values() {
				if strings.EqualFold(word, s) {
					s = word
				}
			}
		}
		v.SetString(s)
	case reflect.Bool:
		b, ok := token.(bool)
		if !ok {
			return wrongType(token, "a Boolean")
		}
		v.SetBool(b)
	case reflect.Int:
		n, ok := integer(token)
		if !ok {
			return wrongType(token, "an Integer")
		}
		v.SetInt(n)
	case reflect.Float64:
		n, ok := token.(json.Number)
		f, err := n.Float64()
		if !ok || err != nil {
			return wrongType(token, "a Double")
		}
		v.SetFloat(f)
	case reflect.Slice:
		return malformed("Expected list or null")
	default:
		return malformed("Expected structure or null")
	}
	return nil
}

// integer reads a number of 32 bits, which is what the API calls an integer. One that is written as
// a fraction or with an exponent counts as long as it is whole.
func integer(token json.Token) (int64, bool) {
	n, ok := token.(json.Number)
	if !ok {
		return 0, false
	}
	f, err := n.Float64()
	if err != nil || f != math.Trunc(f) || f < math.MinInt32 || f > math.MaxInt32 {
		return 0, false
	}
	return int64(f), true
}

// wrongType names what was found as AWS's services name it; the value itself stays out of the text.
func wrongType(token json.Token, wanted string) error {
	found := "STRING_VALUE"
	switch t := token.(type) {
	case json.Number:
		found = "NUMBER_VALUE"
		if strings.ContainsAny(t.String(), ".eE") {
			found = "DECIMAL_VALUE"
		}
	case bool:
		found = strings.ToUpper(fmt.Sprint(t)) + "_VALUE"
	}
	return malformed(found + " can not be converted to " + wanted)
}

func asMalformed(err error) error {
	if err != nil {
		return malformed(err.Error())
	}
	return nil
}
