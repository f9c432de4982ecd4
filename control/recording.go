package control

import (
	"reflect"
	"strings"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/metadata"
)

// record gives the instance the recording, and the role whose credentials stand in it, for these are
// never recorded: they come from where the role's credentials come from. An empty one is taken away.
func (d *draft) record(in *openimds.Instance, r *openimds.Recording) error {
	if r == nil {
		return nil
	}
	if len(r.Items) == 0 {
		d.dropRecording(in)
		in.Recorded, in.Recording = nil, nil
		return nil
	}
	if err := metadata.ValidateRecording(r); err != nil {
		return openimds.Errorf(openimds.InvalidInput, openimds.Malformed, "The recording cannot be used: %s", err)
	}
	d.dropRecording(in)
	in.Recorded, in.Recording = nil, r // a record of its own comes with the instance's
	in.Role = openimds.NewRole(r.RoleName(), in)
	return nil
}

// checkRecorded refuses a change that a recording would hide from the guest.
func (u *InstanceUpdate) checkRecorded(in *openimds.Instance) error {
	if in.Recorded == nil && in.Recording == nil {
		return nil
	}
	hidden := *u
	hidden.UserData, hidden.Overlay, hidden.OverlayRemove, hidden.Recording = nil, nil, nil, nil
	for field, value := range reflect.ValueOf(hidden).Fields() {
		if !value.IsZero() {
			return openimds.Errorf(openimds.InvalidInput, openimds.Conflicting, "The instance %s answers a recording, which would hide %s: lay a value over the path instead, or take the recording away",
				in.Name, strings.ToLower(field.Name[:1])+field.Name[1:])
		}
	}
	return nil
}
