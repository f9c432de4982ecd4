package records

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// AttachmentPrefix leads the keys of attachments; they go on with the instance's name.
const AttachmentPrefix = "attachment/"

// DecodeAttachment reads an attachment's record.
func DecodeAttachment(r store.Record) (*openimds.Attachment, error) {
	a, _, err := open[*openimds.Attachment](r, movedSchema)
	if err != nil {
		return nil, err
	}
	if a == nil || AttachmentPrefix+a.Instance != r.Key {
		return nil, errors.New("record " + r.Key + " is damaged: it is not of that instance")
	}
	a.Host = cmp.Or(a.Host, openimds.LocalHost) // earlier versions knew no other
	return a, a.Validate()
}

// HostOf is the host of an attachment's record, read no further than it takes to tell whose it is.
func HostOf(r store.Record) (string, error) {
	a, _, err := open[struct {
		Host string `json:"host"`
	}](r, movedSchema)
	return cmp.Or(a.Host, openimds.LocalHost), err
}

// PlacePrefix leads the keys of places: who is attached to one interface, namespace or process of a host. By
// these records attachments to the same place find each other however many there are, and two that
// come at the same moment meet.
const PlacePrefix = "place/"

// PlacesOf leads the places of a host that somebody is attached to.
func PlacesOf(host string) string { return PlacePrefix + host + "/" }

// PlaceKey is where those who are attached to the same place as a have their record.
func PlaceKey(a *openimds.Attachment) string {
	prefix := PlacesOf(a.Host)
	switch {
	case a.Interface != "":
		return prefix + "interface/" + a.Interface
	case a.Netns != "":
		return prefix + "netns/" + a.Netns
	}
	return prefix + "process/" + strconv.Itoa(a.PID)
}

// Placed is an attachment in a place's record. A host has a place once, for all regions: there these records stand, and they
// name the region; empty: that which is at home in the store.
type Placed struct {
	openimds.Attachment
	Region string `json:"region,omitempty"`
}

// Is says whether both are of one instance: a name is one within a region.
func (p *Placed) Is(other *Placed) bool {
	return p.Instance == other.Instance && p.Region == other.Region
}

// SharePlaces makes the places that a further region had by itself those of all regions. Where two regions have one place,
// both stay in it. A record that cannot be read stays, and holds nobody off.
func SharePlaces(ctx context.Context, whole store.Store, region string) error {
	page, err := whole.List(ctx, store.Range{Prefix: RegionKey(region) + PlacePrefix})
	if err != nil {
		return err
	}
	for _, r := range page.Records {
		there, err := Decode[[]Placed](r)
		if err != nil {
			continue
		}
		key := strings.TrimPrefix(r.Key, RegionKey(region))
		var all []Placed
		was, err := whole.Get(ctx, key)
		switch {
		case errors.Is(err, store.ErrNoRecord):
			was.Revision = store.IfAbsent
		case err != nil:
			return err
		default:
			if all, err = Decode[[]Placed](was); err != nil {
				continue
			}
		}
		for i := range there {
			there[i].Region = region
		}
		value, err := Encode(append(all, there...))
		if err != nil {
			return err
		}
		_, err = whole.Commit(ctx,
			store.Change{Verb: store.Delete, Key: r.Key, If: r.Revision},
			store.Change{Verb: store.Put, Key: key, Value: value, If: was.Revision})
		if err != nil {
			return err
		}
	}
	return nil
}
