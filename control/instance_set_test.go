package control_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

// TestSetInstance sets every member of InstanceUpdate alone, and looks that its value arrives and
// that nothing else changes. A member that is not in the table fails the test.
func TestSetInstance(t *testing.T) {
	type update = control.InstanceUpdate
	type instance = openimds.Instance
	table := map[string]struct {
		update update
		want   func(*instance)
	}{
		"UserData":            {update{UserData: new([]byte("a\x00b"))}, func(in *instance) { in.UserData = []byte("a\x00b") }},
		"TagsInMetadata":      {update{TagsInMetadata: new(true)}, func(in *instance) { in.Options.Tags = openimds.EndpointEnabled }},
		"ExtendedCredentials": {update{ExtendedCredentials: new(true)}, func(in *instance) { in.ExtendedCredentials = true }},
		"RoleName":            {update{RoleName: new("")}, func(in *instance) { in.Role = nil }},
		"OwnerID":             {update{OwnerID: new("000029643808")}, func(in *instance) { in.OwnerID = "000029643808" }},
		"ImageID":             {update{ImageID: new("ami-01234567")}, func(in *instance) { in.ImageID = "ami-01234567" }},
		"InstanceType":        {update{InstanceType: new("m5.large")}, func(in *instance) { in.InstanceType = "m5.large" }},
		"Architecture":        {update{Architecture: new("arm64")}, func(in *instance) { in.Architecture = "arm64" }},
		"System":              {update{System: new("xen-on-nitro")}, func(in *instance) { in.System = "xen-on-nitro" }},
		"LifeCycle":           {update{LifeCycle: new("spot")}, func(in *instance) { in.LifeCycle = "spot" }},
		"ReservationID":       {update{ReservationID: new("r-1")}, func(in *instance) { in.ReservationID = "r-1" }},
		"LaunchIndex":         {update{LaunchIndex: new(7)}, func(in *instance) { in.LaunchIndex = 7 }},
		"KernelID":            {update{KernelID: new("aki-1")}, func(in *instance) { in.KernelID = "aki-1" }},
		"RamdiskID":           {update{RamdiskID: new("ari-1")}, func(in *instance) { in.RamdiskID = "ari-1" }},
		"AncestorAMIIDs":      {update{AncestorAMIIDs: new([]string{"ami-1"})}, func(in *instance) { in.AncestorAMIIDs = []string{"ami-1"} }},
		"ProductCodes":        {update{ProductCodes: new([]string{"x"})}, func(in *instance) { in.ProductCodes = []string{"x"} }},
		"PlacementGroup":      {update{PlacementGroup: new("g")}, func(in *instance) { in.PlacementGroup = "g" }},
		"PartitionNumber":     {update{PartitionNumber: new(3)}, func(in *instance) { in.PartitionNumber = 3 }},
		"HostID":              {update{HostID: new("h-1")}, func(in *instance) { in.HostID = "h-1" }},
		"DetailedMonitoring":  {update{DetailedMonitoring: new(true)}, func(in *instance) { in.DetailedMonitoring = true }},
		"Hibernation":         {update{Hibernation: new(true)}, func(in *instance) { in.Hibernation = true }},
		"Zone":                {update{Zone: new("us-east-1c")}, func(in *instance) { in.Zone, in.ZoneID = "us-east-1c", "use1-az3" }},
		"Hostname":            {update{Hostname: new("a.b")}, func(in *instance) { in.NICs[0].LocalHostname = "a.b" }},
		"PublicHostname":      {update{PublicHostname: new("")}, func(in *instance) { in.NICs[0].PublicHostname = "" }},
		"Overlay":             {update{Overlay: map[string]*string{"meta-data/x": new("1"), "user-data": nil}}, func(in *instance) { in.Overlay = map[string]*string{"meta-data/x": new("1"), "user-data": nil} }},
		"Recording": {update{Recording: aRecording("deploy")}, func(in *instance) {
			r := aRecording("deploy")
			in.Recorded = &openimds.RecordingSummary{Source: r.Source, RecordedAt: r.RecordedAt, Items: len(r.Items), Size: r.Size()}
			in.Role.Name = "deploy"
			in.Role.ProfileARN = strings.Replace(in.Role.ProfileARN, "/AmazonLightsailInstanceRole", "/deploy", 1)
			in.Role.ProfileID = ""
		}},
		"OverlayRemove": {update{OverlayRemove: []string{"meta-data/none"}}, func(*instance) {}},
	}
	for field := range reflect.TypeFor[update]().Fields() {
		tt, ok := table[field.Name]
		if !ok {
			t.Errorf("InstanceUpdate.%s is in no test", field.Name)
			continue
		}
		f := newFixture(t, nil)
		f.create("web")
		want := f.get("web")
		f.sleep(time.Minute)
		op, err := f.SetInstance(t.Context(), "web", tt.update)
		done(t, []openimds.Operation{op}, err, "SetInstance web")
		tt.want(want)
		got := f.get("web")
		if got.Recorded != nil {
			got.Role.ProfileID, got.Recorded.ID = "", "" // drawn from the name, and by lot
		}
		want.ModifiedAt = start.Add(time.Minute).Truncate(time.Second)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the instance is\n%+v, want\n%+v", field.Name, got, want)
		}
	}
}

func TestSetRole(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	if _, err := f.SetInstance(t.Context(), "web", control.InstanceUpdate{RoleName: new("deploy@2"), OwnerID: new("000000000042")}); err != nil {
		t.Fatal(err)
	}
	role := f.get("web").Role
	if role.Name != "deploy@2" || role.ProfileARN != "arn:aws:iam::000000000042:instance-profile/deploy@2" || !strings.HasPrefix(role.ProfileID, "AIPA") {
		t.Errorf("the role is %+v", role)
	}
}

func TestSetRefused(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	before := f.revision()
	type update = control.InstanceUpdate
	for begin, u := range map[string]update{
		"User data is limited to 16384 bytes, not 16385":              {UserData: new(make([]byte, 16<<10+1))},
		`The owner's id cannot be "1"`:                                {OwnerID: new("1")},
		`The owner's id cannot be ""`:                                 {OwnerID: new("")},
		`The id of the image cannot be "ami-xyz"`:                     {ImageID: new("ami-xyz")},
		`The instance type cannot be "t3"`:                            {InstanceType: new("t3")},
		`The instance type cannot be "t3.nano\n"`:                     {InstanceType: new("t3.nano\n")},
		`The architecture cannot be "i386"`:                           {Architecture: new("i386")},
		`The virtualization system cannot be "kvm"`:                   {System: new("kvm")},
		`The life cycle cannot be "eternal"`:                          {LifeCycle: new("eternal")},
		`The id of the reservation cannot be "r 1"`:                   {ReservationID: new("r 1")},
		`The host name cannot be "a\r\nb"`:                            {Hostname: new("a\r\nb")},
		`The host name cannot be ""`:                                  {Hostname: new("")},
		`The public host name cannot be "-"`:                          {PublicHostname: new("-")},
		`The name of the role cannot be "a/b"`:                        {RoleName: new("a/b")},
		`The id of the kernel cannot be "a b"`:                        {KernelID: new("a b")},
		`The placement group cannot be "ü"`:                           {PlacementGroup: new("ü")},
		"The launch index and the partition number must":              {LaunchIndex: new(-1)},
		"The launch index and the partition number must b":            {PartitionNumber: new(1<<20 + 1)},
		"The ids of the ancestor images and the product codes cannot": {AncestorAMIIDs: &[]string{"ok", ""}},
		"The ids of the ancestor images and the product codes canno":  {ProductCodes: &[]string{"a\nb"}},
		"The availability zone eu-west-1a is no":                      {Zone: new("eu-west-1a")},
		`The overlay cannot be used: overlay path "a//x"`:             {Overlay: map[string]*string{"a//x": nil}},
		"The availability zone us-east-1z is not in the region":       {Zone: new("us-east-1z")},
		"The availability zone us-east-1 is not in the region":        {Zone: new("us-east-1")},
		"The availability zone us-east-10 is not in the region":       {Zone: new("us-east-10")},
		"The availability zone us-east-1a1 is not in the region":      {Zone: new("us-east-1a1")},
		"The recording cannot be used: the recording has no list":     {Recording: &openimds.Recording{Items: aRecording("").Items[1:]}},
		"The overlay of an instance is limited":                       {Overlay: map[string]*string{"x": new(strings.Repeat("a", 64<<10))}},
	} {
		_, err := f.SetInstance(t.Context(), "web", u)
		e, ok := errors.AsType[*openimds.Error](err)
		if !ok || e.Kind != openimds.InvalidInput || !strings.HasPrefix(e.Message(), begin) || strings.ContainsAny(e.Message(), "\r\n") {
			t.Errorf("%s: %v", begin, err)
		}
	}
	_, err := f.SetInstance(t.Context(), "nobody", update{})
	refused(t, err, openimds.NotFound, openimds.DoesNotExist, "The instance nobody does not exist")
	if f.revision() != before {
		t.Error("a refused update left something behind")
	}
}

// TestOverlay: paths come, change and go one by one, and the table's owner has the last word on what
// lies over it as a whole.
func TestOverlay(t *testing.T) {
	f := newFixture(t, nil)
	f.create("web")
	type overlay = map[string]*string
	for i, step := range []struct {
		update control.InstanceUpdate
		want   overlay
	}{
		{control.InstanceUpdate{Overlay: overlay{"a": new("1"), "b": nil}}, overlay{"a": new("1"), "b": nil}},
		{control.InstanceUpdate{Overlay: overlay{"a": nil, "c": new("")}}, overlay{"a": nil, "b": nil, "c": new("")}},
		{control.InstanceUpdate{Hibernation: new(true)}, overlay{"a": nil, "b": nil, "c": new("")}},
		{control.InstanceUpdate{Overlay: overlay{"d": nil}, OverlayRemove: []string{"a", "d", "never"}}, overlay{"b": nil, "c": new("")}},
		{control.InstanceUpdate{OverlayRemove: []string{"b", "c"}}, nil},
		// As a guest asks for it, and as the table has it: both are the same path.
		{control.InstanceUpdate{Overlay: overlay{"/latest/meta-data/x": new("1"), "2021-03-23/y/": nil, "/z": nil}}, overlay{"meta-data/x": new("1"), "y": nil, "z": nil}},
		{control.InstanceUpdate{OverlayRemove: []string{"latest/meta-data/x", "y", "/latest/z"}}, nil},
		// A value of the table makes way for a directory only where that is said.
		{control.InstanceUpdate{Overlay: overlay{"meta-data/ami-id": nil, "meta-data/ami-id/x": new("1"), "user-data/x": nil}}, overlay{"meta-data/ami-id": nil, "meta-data/ami-id/x": new("1"), "user-data/x": nil}},
		{control.InstanceUpdate{OverlayRemove: []string{"meta-data/ami-id", "meta-data/ami-id/x", "user-data/x"}}, nil},
	} {
		if _, err := f.SetInstance(t.Context(), "web", step.update); err != nil {
			t.Fatal(err)
		}
		if got := f.get("web").Overlay; len(got)+len(step.want) > 0 && !reflect.DeepEqual(got, step.want) {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	_, err := f.SetInstance(t.Context(), "web", control.InstanceUpdate{Overlay: overlay{"b//ad": nil, "fine": nil}})
	refused(t, err, openimds.InvalidInput, openimds.Malformed, `The overlay cannot be used: overlay path "b//ad" has a segment that is empty, "." or ".."`)
	if got := f.get("web").Overlay; len(got) != 0 {
		t.Errorf("a part of a refused overlay stayed: %v", got)
	}
	for path, want := range map[string]string{
		"meta-data/instance-id/x":                   `overlay path "meta-data/instance-id/x" lies below "meta-data/instance-id", which is a value of the table`,
		"/latest/user-data/x/y":                     `overlay path "user-data/x/y" lies below "user-data", which is a value of the table`,
		"meta-data/network/interfaces/macs/m/mac/x": `lies below "meta-data/network/interfaces/macs/m/mac"`,
		"latest/latest/x":                           `overlay path "latest/latest/x" is of a version; write it below, like "meta-data/ami-id"`,
		"latest":                                    `overlay path "latest" is of a version`,
	} {
		_, err := f.SetInstance(t.Context(), "web", control.InstanceUpdate{Overlay: overlay{path: new("1")}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	_, err = f.SetInstance(t.Context(), "web", control.InstanceUpdate{Overlay: overlay{"a": nil, "latest/a": nil}})
	refused(t, err, openimds.InvalidInput, openimds.Conflicting, `The overlay cannot be used: overlay path "a" is there twice, once as it is below a version`)
	half := overlay{"x": new(strings.Repeat("a", 40<<10))}
	if _, err := f.SetInstance(t.Context(), "web", control.InstanceUpdate{Overlay: half}); err != nil {
		t.Fatal(err)
	}
	_, err = f.SetInstance(t.Context(), "web", control.InstanceUpdate{Overlay: overlay{"y": half["x"]}})
	refused(t, err, openimds.InvalidInput, openimds.TooLarge, "The overlay of an instance is limited to 65536 bytes, not 81922")
}
