package cloudwatch

import (
	"bytes"
	"encoding/xml"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/aws/smithy-go/encoding/cbor"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/cloudwatch/wire"
)

const namespace = "http://monitoring.amazonaws.com/doc/" + wire.Version + "/"

// Encode is [api.Protocol].
func (a *protocol) Encode(of api.Request, result any, err error) api.Answer {
	form := formOf(of.Head)
	if err == nil {
		done := result.(outcome)
		answer := api.Answer{Status: http.StatusOK, Header: map[string]string{}}
		if err = write(&answer, form, done.value, func(inner string) string {
			return "<" + done.operation + `Response xmlns="` + namespace + `">` + inner +
				"<ResponseMetadata><RequestId>" + of.ID + "</RequestId></ResponseMetadata></" + done.operation + "Response>\n"
		}, done.operation+"Result"); err == nil {
			return answer
		}
	}
	return refusal(form, of.ID, asFailure(form, err))
}

// refusal is the answer of a failure.
func refusal(form form, id string, f *failure) api.Answer {
	fault := "Sender"
	if f.status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	answer := api.Answer{Status: f.status, Header: map[string]string{}}
	if form == formQuery {
		var b bytes.Buffer
		b.WriteString(`<ErrorResponse xmlns="` + namespace + `"><Error><Type>` + fault + "</Type><Code>" + f.code + "</Code><Message>")
		_ = xml.EscapeText(&b, []byte(f.message))
		b.WriteString("</Message></Error><RequestId>" + id + "</RequestId></ErrorResponse>\n")
		answer.ContentType, answer.Body = typeXML, b.Bytes()
		return answer
	}
	// What clients of the query API knew an error by they still look for.
	answer.Header["x-amzn-query-error"] = f.code + ";" + fault
	shown := shownFailure{Type: shapePrefix + f.shape, Message: f.message}
	if f.shape == "InternalServiceFault" { // spelled so in the model
		shown = shownFailure{Type: shapePrefix + f.shape, Upper: f.message}
	}
	if form == formJSON {
		answer.Header["x-amzn-ErrorType"] = f.shape
	}
	_ = write(&answer, form, shown, nil, "") // texts only
	return answer
}

// shapePrefix is of the names of exceptions.
const shapePrefix = "com.amazonaws.cloudwatch#"

type shownFailure struct {
	Type    string `json:"__type"`
	Message string `json:"message,omitempty"`
	Upper   string `json:"Message,omitempty"`
}

// write writes a value in a form; as XML in an element of that name, if it has members, within what around makes of it.
func write(answer *api.Answer, form form, value any, around func(string) string, element string) error {
	switch form {
	case formCBOR:
		item, err := cborOf(reflect.ValueOf(value))
		if err != nil {
			return err
		}
		answer.ContentType, answer.Body = typeCBOR, cbor.Encode(item)
		answer.Header[headerProtocol] = protocolCBOR
		return nil
	case formJSON:
		body, err := awsjson.Marshal(value)
		answer.ContentType, answer.Body = typeJSON, body
		return err
	}
	var b bytes.Buffer
	if v := reflect.ValueOf(value); v.NumField() > 0 {
		if err := xmlOf(&b, element, v); err != nil {
			return err
		}
	}
	answer.ContentType, answer.Body = typeXML, []byte(around(b.String()))
	return nil
}

var errNoForm = errors.New("an answer has a value that has no form")

// leftOut says whether a member is not written because it is empty.
func leftOut(f reflect.StructField, v reflect.Value) bool {
	empty := v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
	return empty && strings.HasSuffix(f.Tag.Get("json"), ",omitempty")
}

// cborOf is a value of a result.
func cborOf(v reflect.Value) (cbor.Value, error) {
	switch value := v.Interface().(type) {
	case awsjson.Epoch:
		return &cbor.Tag{ID: 1, Value: cbor.Float64(float64(value.UnixMilli()) / 1000)}, nil
	case awsjson.Double:
		return cbor.Float64(value), nil
	}
	switch v.Kind() {
	case reflect.Pointer:
		return cborOf(v.Elem())
	case reflect.String:
		return cbor.String(v.String()), nil
	case reflect.Bool:
		return cbor.Bool(v.Bool()), nil
	case reflect.Int:
		if n := v.Int(); n < 0 {
			return cbor.NegInt(uint64(-n)), nil
		}
		return cbor.Uint(uint64(v.Int())), nil
	case reflect.Slice:
		list := make(cbor.List, v.Len())
		for i := range list {
			var err error
			if list[i], err = cborOf(v.Index(i)); err != nil {
				return nil, err
			}
		}
		return list, nil
	case reflect.Struct:
		members := make(cbor.Map, v.NumField())
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if leftOut(f, v.Field(i)) {
				continue
			}
			member, err := cborOf(v.Field(i))
			if err != nil {
				return nil, err
			}
			members[awsjson.MemberName(f)] = member
		}
		return members, nil
	}
	return nil, errNoForm
}

// xmlOf writes a value of a result as an element.
func xmlOf(b *bytes.Buffer, name string, v reflect.Value) error {
	if v.Kind() == reflect.Pointer {
		return xmlOf(b, name, v.Elem())
	}
	b.WriteString("<" + name + ">")
	defer b.WriteString("</" + name + ">")
	switch value := v.Interface().(type) {
	case awsjson.Epoch:
		b.WriteString(value.UTC().Format("2006-01-02T15:04:05.999Z"))
		return nil
	case awsjson.Double:
		b.WriteString(strconv.FormatFloat(float64(value), 'g', -1, 64))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		return xml.EscapeText(b, []byte(v.String()))
	case reflect.Bool:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case reflect.Int:
		b.WriteString(strconv.FormatInt(v.Int(), 10))
	case reflect.Slice:
		for i := range v.Len() {
			if err := xmlOf(b, "member", v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); !leftOut(f, v.Field(i)) {
				if err := xmlOf(b, awsjson.MemberName(f), v.Field(i)); err != nil {
					return err
				}
			}
		}
	default:
		return errNoForm
	}
	return nil
}
