package records

import (
	"errors"
	"strconv"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// AttachmentPrefix leads the keys of attachments; they go on with the instance's name.
const AttachmentPrefix = "attachment/"

// DecodeAttachment reads an attachment's record.
func DecodeAttachment(r store.Record) (*openimds.Attachment, error) {
	a, schema, err := open[*openimds.Attachment](r)
	if err == nil && schema != recordSchema && schema != attachmentSchema {
		err = newerSchema(r, schema)
	}
	if err != nil {
		return nil, err
	}
	if a == nil || AttachmentPrefix+a.Instance != r.Key {
		return nil, errors.New("record " + r.Key + " is damaged: it is not of that instance")
	}
	return a, a.Validate()
}

// PlacePrefix leads the keys of places: who is attached to one interface, namespace or process. By
// these records attachments to the same place find each other however many there are, and two that
// come at the same moment meet.
const PlacePrefix = "place/"

// PlaceKey is where those who are attached to the same place as a have their record.
func PlaceKey(a *openimds.Attachment) string {
	switch {
	case a.Interface != "":
		return PlacePrefix + "interface/" + a.Interface
	case a.Netns != "":
		return PlacePrefix + "netns/" + a.Netns
	}
	return PlacePrefix + "process/" + strconv.Itoa(a.PID)
}
