package lightsail_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

func TestSetInstance(t *testing.T) {
	s := newServer(t)
	const set, describe = "OpenIMDS_20261122.SetInstance", "OpenIMDS_20261122.DescribeInstance"
	s.steps([]step{
		{target: set, body: `{"instanceName":"demo","userData":"AP8=","tagsInMetadata":true,"roleName":"app","extendedCredentials":true,"ownerId":"000029643808","imageId":"ami-0123456789abcdef0",
			"instanceType":"m5.large","architecture":"arm64","system":"xen","lifeCycle":"spot","reservationId":"r-1","launchIndex":3,"kernelId":"aki-1","ramdiskId":"ari-1",
			"ancestorAmiIds":["ami-1"],"productCodes":["abc"],"placementGroup":"pg","partitionNumber":2,"hostId":"h-1","detailedMonitoring":true,"hibernation":true,
			"availabilityZone":"us-east-1b","hostname":"a.example","publicHostname":"b.example","overlay":{"meta-data/ami-id":"x","meta-data/mac":null}}`,
			want: `{"operation":{"operationType":"SetInstance","resourceName":"demo","status":"Succeeded"}}`},
		{target: describe, body: `{"instanceName":"demo","includeUserData":true}`, want: `{"instance":{"name":"demo","arn":"*","userData":"AP8=","userDataSize":2,"options":{"tags":"enabled"},"extendedCredentials":true,
			"role":{"name":"app","profileArn":"arn:aws:iam::000029643808:instance-profile/app","profileId":"*"},"ownerId":"000029643808","imageId":"ami-0123456789abcdef0",
			"instanceType":"m5.large","architecture":"arm64","system":"xen","lifeCycle":"spot","reservationId":"r-1","launchIndex":3,"kernelId":"aki-1","ramdiskId":"ari-1",
			"ancestorAmiIds":["ami-1"],"productCodes":["abc"],"placementGroup":"pg","partitionNumber":2,"hostId":"h-1","detailedMonitoring":true,"hibernation":true,
			"zone":"us-east-1b","nics":[{"localHostname":"a.example","publicHostname":"b.example"}],"overlay":{"meta-data/ami-id":"x","meta-data/mac":null},"tokenKey":"!"}}`},
		{target: set, body: `{"instanceName":"demo","userData":"","roleName":"","overlayRemove":["meta-data/mac"],"tagsInMetadata":false,"kernelId":""}`, want: `{"operation":{}}`},
		{target: describe, body: `{"instanceName":"demo","includeUserData":true}`, want: `{"instance":{"userData":"!","userDataSize":0,"role":"!","kernelId":"!","ramdiskId":"ari-1","overlay":{"meta-data/ami-id":"x","meta-data/mac":"!"}}}`},
		{target: set, body: `{"instanceName":"demo"}`, want: `{"operation":{}}`},
		{target: set, body: `{"instanceName":"demo","userData":"A"}`, exception: malformed, message: "only base-64-encoded strings are convertible to bytes"},
		{target: set, body: `{"instanceName":"demo","userData":7}`, exception: malformed, message: "NUMBER_VALUE can not be converted to a Blob"},
		{target: set, body: `{"instanceName":"demo","overlay":[]}`, exception: malformed, message: "Start of list found where not expected"},
		{target: set, body: `{"instanceName":"demo","overlay":{"meta-data/a":1}}`, exception: malformed, message: "NUMBER_VALUE can not be converted to a String"},
		{target: set, body: `{"instanceName":"demo","overlay":{"meta-data/a":"1","meta-data/a":"2"}}`, exception: malformed, message: "The member 'meta-data/a' occurs twice"},
		{target: set, body: `{"instanceName":"demo","overlay":{"/meta-data":"1"}}`, exception: invalid, message: "The overlay cannot be used"},
		{target: set, body: `{"instanceName":"demo","instanceType":"toaster"}`, exception: invalid, message: "instanceType cannot be"},
		{target: set, body: `{"instanceName":"absent"}`, exception: notFound, code: "DoesNotExist"},
		{target: describe, body: `{"instanceName":"absent"}`, exception: notFound, code: "DoesNotExist"},
		{target: "OpenIMDS_20261122.DescribeService", body: `{}`, want: `{"region":"us-east-1","accountId":"123456789012","version":"1.2.3","time":"#",
			"caller":{"accessKeyId":"` + s.full.ID + `","profile":"operator","readOnly":false}}`},
	})
	whole := s.must(describe, `{"instanceName":"demo"}`)["instance"].(map[string]any)
	if _, there := whole["userData"]; there {
		t.Error("user data without being asked for")
	}
}

// TestSetInstanceReachesEverything holds the operation against what the service can change.
func TestSetInstanceReachesEverything(t *testing.T) {
	s := newServer(t)
	before, err := s.service.Instance(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	// One value for each member of the update; a new member has to be added to the operation.
	values := map[string]string{
		"UserData": `"userData":"eA=="`, "TagsInMetadata": `"tagsInMetadata":true`, "ExtendedCredentials": `"extendedCredentials":true`, "RoleName": `"roleName":"other"`, "OwnerID": `"ownerId":"000000000001"`,
		"ImageID": `"imageId":"ami-00000001"`, "InstanceType": `"instanceType":"a1.metal"`, "Architecture": `"architecture":"arm64"`, "System": `"system":"xen"`,
		"LifeCycle": `"lifeCycle":"spot"`, "ReservationID": `"reservationId":"r-2"`, "LaunchIndex": `"launchIndex":9`, "KernelID": `"kernelId":"k"`, "RamdiskID": `"ramdiskId":"r"`,
		"AncestorAMIIDs": `"ancestorAmiIds":["a"]`, "ProductCodes": `"productCodes":["p"]`, "PlacementGroup": `"placementGroup":"g"`, "PartitionNumber": `"partitionNumber":1`,
		"HostID": `"hostId":"h"`, "DetailedMonitoring": `"detailedMonitoring":true`, "Hibernation": `"hibernation":true`, "Zone": `"availabilityZone":"us-east-1f"`,
		"Hostname": `"hostname":"h"`, "PublicHostname": `"publicHostname":"p"`, "Overlay": `"overlay":{"user-data":"x"}`, "OverlayRemove": `"overlayRemove":["user-data"]`,
		"Recording": `"recording":` + smallRecording,
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[control.InstanceUpdate]()) {
		value, known := values[f.Name]
		if !known {
			t.Errorf("SetInstance has no member for %s", f.Name)
			continue
		}
		s.must("OpenIMDS_20261122.SetInstance", `{"instanceName":"demo",`+value+`}`)
		after, err := s.service.Instance(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		before.ModifiedAt = after.ModifiedAt
		if reflect.DeepEqual(before, after) {
			t.Errorf("%s changed nothing", value)
		}
		before = after
	}
}

// TestDescribeInstanceIsWhole names every member of an instance's record that is not shown. A new
// member is shown unless it is added here; who adds a secret has to think of it.
func TestDescribeInstanceIsWhole(t *testing.T) {
	hidden := []string{"tokenKey", "userData"}
	secrets := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[openimds.Instance]()) {
		if f.Type == reflect.TypeFor[openimds.Secret]() {
			secrets++
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !slices.Contains(hidden, name) {
				t.Errorf("%s is a secret that DescribeInstance shows", f.Name)
			}
		}
	}
	if secrets != 1 {
		t.Errorf("an instance has %d secrets, not 1: see that wholeInstance hides them all", secrets)
	}
	s := newServer(t)
	in, err := s.service.Instance(t.Context(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(record, &members); err != nil {
		t.Fatal(err)
	}
	shown := s.must("OpenIMDS_20261122.DescribeInstance", `{"instanceName":"demo"}`)["instance"].(map[string]any)
	for name, value := range members {
		if slices.Contains(hidden, name) {
			if there, ok := shown[name]; ok {
				t.Errorf("%s is shown: %v", name, there)
			}
			continue
		}
		if !reflect.DeepEqual(shown[name], value) {
			t.Errorf("%s is %v, the record has %v", name, shown[name], value)
		}
	}
}

// TestPages lists more of each kind than a page holds.
func TestPages(t *testing.T) {
	s := newServer(t)
	var want []string
	for i := range 13 {
		var names []string
		for j := range 20 {
			names = append(names, fmt.Sprintf("i-%03d", 20*i+j))
		}
		list, _ := json.Marshal(names)
		s.must("CreateInstances", `{"instanceNames":`+string(list)+`,"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0"}`)
		want = append(want, names...)
	}
	want = append([]string{"demo"}, want...)
	for _, l := range []struct {
		target, request, list, name string
		want                        []string
		pages                       int
	}{
		{"GetInstances", ``, "instances", "name", want, 3},
		{"GetActiveNames", ``, "activeNames", "", append(slices.Clone(want), "LightsailDefaultKeyPair"), 3},
		{"GetOperations", ``, "operations", "resourceName", append(slices.Clone(want), "LightsailDefaultKeyPair"), 3},
		{"OpenIMDS_20261122.GetMetadataCounts", ``, "counts", "instanceName", want, 3},
		{"GetOperationsForResource", `"resourceName":"demo"`, "operations", "resourceName", []string{"demo"}, 1},
		{"GetStaticIps", ``, "staticIps", "name", nil, 1},
	} {
		got, pages := s.list(l.target, l.request, l.list, l.name)
		slices.Sort(got)
		slices.Sort(l.want)
		if !slices.Equal(got, l.want) || pages != l.pages {
			t.Errorf("%s: %d items in %d pages, want %d in %d", l.target, len(got), pages, len(l.want), l.pages)
		}
	}
	for _, bad := range []string{"x", "AAAA", "%00", "aW5zdGFuY2U", strings.Repeat("A", 4000)} {
		if a := s.call("GetInstances", `{"pageToken":"`+bad+`"}`); a.status != 400 || a.json(t)["__type"] != invalid {
			t.Errorf("token %.20q: %d %s", bad, a.status, a.body)
		}
	}
}

// list reads all pages of a list, and returns the items' names and the number of pages.
func (s *server) list(target, request, list, name string) (got []string, pages int) {
	s.t.Helper()
	for token := ""; ; {
		body := `{` + request
		if token != "" {
			if request != "" {
				body += ","
			}
			body += `"pageToken":"` + token + `"`
		}
		page := s.must(target, body+`}`)
		pages++
		for _, item := range page[list].([]any) {
			if object, ok := item.(map[string]any); ok {
				item = object[name]
			}
			got = append(got, item.(string))
		}
		next, more := page["nextPageToken"]
		if !more {
			return got, pages
		}
		if next == token || next == "" {
			s.t.Fatalf("%s: the token %q again", target, next)
		}
		token = next.(string)
		if other := s.call("GetKeyPairs", `{"pageToken":"`+token+`"}`); other.status != 400 {
			s.t.Errorf("a token of %s was taken by another list", target)
		}
	}
}
