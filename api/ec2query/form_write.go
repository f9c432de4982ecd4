package ec2query

import (
	"encoding/base64"
	"net/url"
	"reflect"
	"strconv"
)

// Encode writes a request of an action in that version of the API, as [Decode] reads it. A member that is zero is left
// out, but for one that a pointer leads to and for the items of lists.
func Encode(action, version string, request any) []byte {
	params := url.Values{"Action": {action}, "Version": {version}}
	put(params, reflect.ValueOf(request), "", false)
	return []byte(params.Encode())
}

// put writes a value by the name that leads to it; always says that it is there though it be zero.
func put(params url.Values, v reflect.Value, name string, always bool) {
	switch of := v.Interface().(type) {
	case Unbuilt:
		return
	case Blob:
		if always || len(of) > 0 {
			params.Set(name, base64.StdEncoding.EncodeToString(of))
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			put(params, v.Elem(), name, true)
		}
	case reflect.Struct:
		if name != "" {
			name += "."
		}
		for i := range v.NumField() {
			put(params, v.Field(i), name+MemberName(v.Type().Field(i)), false)
		}
	case reflect.Slice:
		for i := range v.Len() {
			put(params, v.Index(i), name+"."+strconv.Itoa(i+1), true)
		}
	case reflect.String:
		if always || v.String() != "" {
			params.Set(name, v.String())
		}
	case reflect.Bool:
		if always || v.Bool() {
			params.Set(name, strconv.FormatBool(v.Bool()))
		}
	case reflect.Int:
		if always || v.Int() != 0 {
			params.Set(name, strconv.FormatInt(v.Int(), 10))
		}
	}
}
