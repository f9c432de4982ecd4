package ec2query

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Unmarshal reads the answer of an action into the structure that result points to, whose members are named as for
// [Marshal]. An answer of Amazon's has more members than one of the shapes here: what they do not have is passed over.
func Unmarshal(data []byte, result any) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	root, err := rootOf(d)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(root, "Response") {
		return fmt.Errorf("it is an element %.100q, and no answer of an action", root)
	}
	return readMembers(d, reflect.ValueOf(result).Elem())
}

// UnmarshalError reads the answer that a request failed. ok is false for what is no such answer.
func UnmarshalError(data []byte) (e *Error, requestID string, ok bool) {
	var answer struct {
		XMLName   xml.Name `xml:"Response"`
		Code      string   `xml:"Errors>Error>Code"`
		Message   string   `xml:"Errors>Error>Message"`
		RequestID string   `xml:"RequestID"`
	}
	if xml.Unmarshal(data, &answer) != nil || answer.Code == "" {
		return nil, "", false
	}
	return &Error{answer.Code, answer.Message}, answer.RequestID, true
}

// rootOf reads up to the first element.
func rootOf(d *xml.Decoder) (string, error) {
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return "", errors.New("it is no XML")
		}
		if err != nil {
			return "", err
		}
		if start, ok := token.(xml.StartElement); ok {
			return start.Name.Local, nil
		}
	}
}

// eachElement calls read for each element within the one that has begun, up to the end of that. read reads to the end of
// its element.
func eachElement(d *xml.Decoder, read func(name string) error) error {
	for {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch is := token.(type) {
		case xml.StartElement:
			if err := read(is.Name.Local); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		}
	}
}

func readMembers(d *xml.Decoder, v reflect.Value) error {
	members := shapeOf(v.Type())
	return eachElement(d, func(name string) error {
		for i, m := range members {
			if m.name == name {
				return readContent(d, v.Field(i), name)
			}
		}
		return d.Skip()
	})
}

func readContent(d *xml.Decoder, v reflect.Value, name string) error {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return readContent(d, v.Elem(), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		return eachElement(d, func(string) error {
			item := reflect.New(v.Type().Elem()).Elem()
			err := readContent(d, item, name)
			v.Set(reflect.Append(v, item))
			return err
		})
	case reflect.Struct:
		if _, ok := v.Interface().(time.Time); !ok {
			return readMembers(d, v)
		}
	}
	text, err := readText(d)
	if err != nil {
		return err
	}
	if err := readScalar(text, v); err != nil {
		return fmt.Errorf("its %s is %.100q: %w", name, text, err)
	}
	return nil
}

// readText reads what stands in an element; elements within it are passed over.
func readText(d *xml.Decoder) (string, error) {
	var text strings.Builder
	for {
		token, err := d.Token()
		if err != nil {
			return "", err
		}
		switch is := token.(type) {
		case xml.CharData:
			text.Write(is)
		case xml.StartElement:
			if err := d.Skip(); err != nil {
				return "", err
			}
		case xml.EndElement:
			return text.String(), nil
		}
	}
}

func readScalar(text string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		is, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("it must be true or false")
		}
		v.SetBool(is)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			return errors.New("it must be a whole number")
		}
		v.SetInt(n)
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errors.New("it must be a number")
		}
		v.SetFloat(n)
	case reflect.Struct:
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return errors.New("it must be a time")
		}
		v.Set(reflect.ValueOf(at))
	}
	return nil
}
