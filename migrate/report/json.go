package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/openimds/openimds/printable"
)

// JSON is the report as an object of JSON, as it is signed.
func (r *Report) JSON() ([]byte, error) {
	var b bytes.Buffer
	err := r.WriteJSON(&b, r.all)
	return b.Bytes(), err
}

// WriteJSON writes what JSON is, of a report whose instances somebody else keeps.
func (r *Report) WriteJSON(w io.Writer, all All) error {
	const none = "[]\n}" // of the instances, which are the last member
	empty := *r
	empty.Instances = []Instance{}
	head, err := indented(empty, "")
	if err != nil {
		return err
	}
	head, found := bytes.CutSuffix(head, []byte(none))
	if !found {
		return errors.New("a report does not end with its instances")
	}
	text, between := append(head, '['), "\n    "
	err = all(func(one Instance) error {
		shown, err := indented(one, "    ")
		if err != nil {
			return err
		}
		text = append(append(text, between...), shown...)
		_, err = w.Write(text)
		text, between = text[:0], ",\n    "
		return err
	})
	if err != nil {
		return err
	}
	end := "\n  ]\n}\n"
	if len(text) > 0 { // nothing was written yet
		end = none[1:] + "\n"
	}
	_, err = w.Write(append(text, end...))
	return err
}

// indented is v as it can be shown at a terminal, where what is signed has to pass.
func indented(v any, prefix string) ([]byte, error) {
	text, err := json.MarshalIndent(v, prefix, "  ")
	return printable.Text(text), err
}
