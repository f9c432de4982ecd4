package ec2query

import (
	"bytes"
	"encoding/xml"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Namespace is that of the answers of EC2's API.
const Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"

const header = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"

// Marshal writes the answer of an action. The members of result have their names in tags, ec2:"name"; one with
// ",omitzero" is left out where it is zero. A list without items is an empty element, which clients take for an empty
// list; what no XML may hold becomes the replacement character.
func Marshal(action, requestID string, result any) []byte {
	var b bytes.Buffer
	b.WriteString(header)
	b.WriteString("<" + action + `Response xmlns="` + Namespace + `">`)
	element(&b, "requestId", requestID)
	if result != nil {
		members(&b, reflect.ValueOf(result))
	}
	b.WriteString("</" + action + "Response>")
	return b.Bytes()
}

// MarshalError writes the answer that a request failed.
func MarshalError(requestID string, e *Error) []byte {
	var b bytes.Buffer
	b.WriteString(header)
	b.WriteString("<Response><Errors><Error>")
	element(&b, "Code", e.Code)
	element(&b, "Message", e.Message)
	b.WriteString("</Error></Errors>")
	element(&b, "RequestID", requestID)
	b.WriteString("</Response>")
	return b.Bytes()
}

func element(b *bytes.Buffer, name, text string) {
	open(b, name)
	_ = xml.EscapeText(b, []byte(text)) // a buffer takes all
	end(b, name)
}

func open(b *bytes.Buffer, name string) {
	b.WriteByte('<')
	b.WriteString(name)
	b.WriteByte('>')
}

func end(b *bytes.Buffer, name string) {
	b.WriteString("</")
	b.WriteString(name)
	b.WriteByte('>')
}

// shape is what the tags of a structure say, read once: ten thousand instances have the same.
type shape []struct {
	name     string
	omitZero bool
}

var shapes sync.Map // reflect.Type → shape

func shapeOf(t reflect.Type) shape {
	if known, ok := shapes.Load(t); ok {
		return known.(shape)
	}
	found := make(shape, t.NumField())
	for i := range found {
		name, option, _ := strings.Cut(t.Field(i).Tag.Get("ec2"), ",")
		found[i].name, found[i].omitZero = name, option == "omitzero"
	}
	shapes.Store(t, found)
	return found
}

func members(b *bytes.Buffer, v reflect.Value) {
	for i, m := range shapeOf(v.Type()) {
		member := v.Field(i)
		if m.omitZero && member.IsZero() {
			continue
		}
		open(b, m.name)
		content(b, member)
		end(b, m.name)
	}
}

func content(b *bytes.Buffer, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			content(b, v.Elem())
		}
	case reflect.Struct:
		if at, ok := v.Interface().(time.Time); ok {
			b.WriteString(at.UTC().Format("2006-01-02T15:04:05.000Z"))
			return
		}
		members(b, v)
	case reflect.Slice:
		for i := range v.Len() {
			b.WriteString("<item>")
			content(b, v.Index(i))
			b.WriteString("</item>")
		}
	case reflect.String:
		text(b, v.String())
	case reflect.Bool:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Int, reflect.Int64:
		b.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Float64:
		b.WriteString(strconv.FormatFloat(v.Float(), 'f', -1, 64))
	}
}

// text writes what stands in an element. Most needs no escape.
func text(b *bytes.Buffer, s string) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '<' || c == '>' || c == '&' || c == '"' || c == '\'' {
			_ = xml.EscapeText(b, []byte(s)) // a buffer takes all
			return
		}
	}
	b.WriteString(s)
}
