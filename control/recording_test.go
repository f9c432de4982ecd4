package control_test

import (
	"context"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
)

// aRecording is a recording with the credentials of a role, unless its name is empty.
func aRecording(role string) *openimds.Recording {
	r := &openimds.Recording{Source: "http://169.254.169.254", RecordedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Items: []openimds.RecordedItem{
		{Path: "", Listing: true, ContentType: "text/plain", Body: []byte("latest")},
		{Path: "latest", Listing: true, ContentType: "text/plain", Body: []byte("meta-data")},
	}}
	if role != "" {
		r.Items = append(r.Items, openimds.RecordedItem{
			Path: "latest/meta-data/iam/security-credentials/" + role, ContentType: "text/plain", State: openimds.RecordedBlanked, Body: []byte("{}"),
		})
	}
	return r
}

// TestRecording: an instance with a recording takes what its guest would see, refuses what the
// recording would hide, and is as before once the recording is gone.
func TestRecording(t *testing.T) {
	type update = control.InstanceUpdate
	var audited []openimds.AuditEntry
	f := newFixture(t, func(c *control.Config, _ *store.Store) {
		c.Audit = func(_ context.Context, entries ...openimds.AuditEntry) error {
			audited = append(audited, entries...)
			return nil
		}
	})
	f.create("web")
	set := func(u update) error { _, err := f.SetInstance(t.Context(), "web", u); return err }

	bad := aRecording("")
	bad.Source = strings.Repeat("x", 513)
	refused(t, set(update{Recording: bad}), openimds.InvalidInput, openimds.Malformed, "The recording cannot be used: the source of the recording has more than 512 bytes")
	if err := set(update{Recording: aRecording("deploy")}); err != nil {
		t.Fatal(err)
	}
	if last := audited[len(audited)-1]; !strings.HasSuffix(last.After["recording"].(string), " bytes]") {
		t.Errorf("the audit shows %v", last.After["recording"])
	}
	if in := f.get("web"); in.Role == nil || in.Role.Name != "deploy" {
		t.Errorf("the role is %+v", in.Role)
	}
	if err := set(update{UserData: new([]byte("x")), Overlay: map[string]*string{"meta-data/x": nil}}); err != nil {
		t.Fatal(err)
	}
	before := f.revision()
	for field := range reflect.TypeFor[update]().Fields() {
		u := update{}
		value := reflect.ValueOf(&u).Elem().FieldByIndex(field.Index)
		switch field.Name {
		case "UserData", "Overlay", "OverlayRemove", "Recording":
			continue
		}
		value.Set(reflect.New(field.Type.Elem()))
		if err := set(u); err == nil {
			t.Errorf("%s is taken, though the recording hides it", field.Name)
		}
	}
	refused(t, set(update{TagsInMetadata: new(true)}), openimds.InvalidInput, openimds.Conflicting,
		"The instance web answers a recording, which would hide tagsInMetadata: lay a value over the path instead, or take the recording away")
	if f.revision() != before {
		t.Error("a refused update left something behind")
	}
	if err := set(update{Recording: &openimds.Recording{}, TagsInMetadata: new(true)}); err != nil {
		t.Fatal(err)
	}
	if in := f.get("web"); in.Recorded != nil || in.Recording != nil || in.Options.Tags != openimds.EndpointEnabled {
		t.Errorf("the recording is %+v, tags in metadata %v", in.Recording, in.Options.Tags)
	}
}
