package records

import (
	"cmp"
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
	if err == nil && (schema < recordSchema || schema > attachmentSchema) {
		err = newerSchema(r, schema, attachmentSchema)
	}
	if err != nil {
		return nil, err
	}
	if a == nil || AttachmentPrefix+a.Instance != r.Key {
		return nil, errors.New("record " + r.Key + " is damaged: it is not of that instance")
	}
	a.Host = cmp.Or(a.Host, openimds.LocalHost) // earlier versions knew no other
	return a, a.Validate()
}

// PlacePrefix leads the keys of places: who is attached to one interface, namespace or process of a host. By
// these records attachments to the same place find each other however many there are, and two that
// come at the same moment meet.
const PlacePrefix = "place/"

// PlaceKey is where those who are attached to the same place as a have their record.
func PlaceKey(a *openimds.Attachment) string {
	prefix := PlacePrefix + a.Host + "/"
	switch {
	case a.Interface != "":
		return prefix + "interface/" + a.Interface
	case a.Netns != "":
		return prefix + "netns/" + a.Netns
	}
	return prefix + "process/" + strconv.Itoa(a.PID)
}
