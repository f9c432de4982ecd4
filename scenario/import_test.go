package scenario

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/scenario/aemm"
)

const foreign = `{"imdsv2": true, "spot": {"action": "stop", "time": "2099-01-01T00:00:00Z"},
"metadata": {"values": {"ami-id": "ami-foreign", "hostname": "foreign", "iam-security-credentials-role": "foreign"}},
"userdata": {"values": {"userdata": "Zm9yZWlnbg=="}}}`

// refuser refuses the operations of a name from the n-th on.
type refuser struct {
	name string
	from int
	seen int
}

func (f *refuser) refuses(r *http.Request) bool {
	if _, name, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); name != f.name || f.name == "" {
		return false
	}
	f.seen++
	return f.seen >= f.from
}

func mock(t *testing.T) Import {
	t.Helper()
	plan, err := aemm.Decode([]byte(foreign), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return OfMock(plan)
}

// state is what an instance answers and has, but for what every change moves.
func state(t *testing.T, c *client.Client, name string) string {
	t.Helper()
	result, err := client.Call(t.Context(), c, wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: name, IncludeUserData: true})
	if err != nil {
		t.Fatal(err)
	}
	in := result.Instance
	text, err := json.Marshal([]any{in.Overlay, string(in.UserData), in.Role, in.Options.Tokens, in.Events, in.Recording})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An import that is refused half-way leaves an instance as it was, and one that was made for it nowhere.
func TestImportIsWholeOrNot(t *testing.T) {
	for _, refused := range []string{"SetInstance", "UpdateInstanceMetadataOptions", "UpdateInstanceEvents"} {
		synctest.Test(t, func(t *testing.T) {
			refuse := &refuser{from: 1}
			c, _ := newRefusing(t, refuse.refuses, "web-1")
			old, role, data := "ami-old", "old", awsjson.Blob("old")
			_, err := client.Call(t.Context(), c, wire.SetInstance, wire.SetInstanceRequest{
				InstanceName: "web-1", Overlay: map[string]*string{"meta-data/ami-id": &old, "meta-data/x": nil}, RoleName: &role, UserData: &data,
			})
			if err != nil {
				t.Fatal(err)
			}
			before := state(t, c, "web-1")
			refuse.name = refused
			for _, name := range []string{"web-1", "web-2"} {
				refuse.seen = 0
				told := false
				err := mock(t).Onto(t.Context(), c, name, func(wire.Operation) error { told = true; return nil })
				if err == nil || !strings.HasSuffix(err.Error(), "refused") || told {
					t.Errorf("%s onto %s: %v, told %v", refused, name, err, told)
				}
			}
			refuse.name = ""
			if after := state(t, c, "web-1"); after != before {
				t.Errorf("%s: the instance is\n%s, was\n%s", refused, after, before)
			}
			_, err = client.Call(t.Context(), c, wire.GetInstance, wire.GetInstanceRequest{InstanceName: "web-2"})
			if gone, ok := err.(*client.Error); !ok || !gone.NotFound() {
				t.Errorf("%s: an instance made for the import is left: %v", refused, err)
			}
		})
	}
}

// What cannot be taken back is said.
func TestImportLeftHalfway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := &refuser{name: "UpdateInstanceEvents", from: 1}
		set := &refuser{name: "SetInstance", from: 2}
		c, _ := newRefusing(t, func(r *http.Request) bool { return events.refuses(r) || set.refuses(r) }, "web-1")
		err := mock(t).Onto(t.Context(), c, "web-1", func(wire.Operation) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "; and the values of web-1 could not be set back: ") {
			t.Errorf("%v", err)
		}
	})
}

// losing is a control API that loses its answers to an operation, and knows the instance or not.
type losing struct {
	lost  string
	known bool
}

func (l losing) RoundTrip(r *http.Request) (*http.Response, error) {
	_, name, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	switch {
	case name == l.lost:
		return nil, io.ErrUnexpectedEOF
	case name == "DescribeInstance" && !l.known:
		return &http.Response{StatusCode: http.StatusBadRequest, Body: io.NopCloser(strings.NewReader(`{"__type":"NotFoundException","message":"no"}`))}, nil
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(`{"instance":{"name":"web-1"}}`))}, nil
}

// Where an answer is lost, nobody knows whether the change was made, unless the instance is gone again.
func TestImportWithoutAnAnswer(t *testing.T) {
	const unknown = "; whether web-1 was changed is not known: look with 'openimds instance show web-1'"
	for _, c := range []struct {
		losing
		said bool
	}{
		{losing{"SetInstance", true}, true},
		{losing{"UpdateInstanceEvents", true}, true},
		{losing{"LaunchInstances", false}, true},
		{losing{"SetInstance", false}, false},
	} {
		api, err := client.New(client.Config{
			Endpoint: "http://127.0.0.1", Region: "us-east-1", HTTP: &http.Client{Transport: c.losing},
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "secret"}, nil
			}),
		})
		if err != nil {
			t.Fatal(err)
		}
		err = mock(t).Onto(t.Context(), api, "web-1", func(wire.Operation) error { return nil })
		if err == nil || strings.Contains(err.Error(), unknown) != c.said {
			t.Errorf("%+v: %v", c.losing, err)
		}
	}
}

// An import that is made tells of its changes, and the instance has them.
func TestImport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newWhole(t, "web-1")
		var told []string
		tell := func(op wire.Operation) error { told = append(told, op.OperationType); return nil }
		if err := mock(t).Onto(t.Context(), c, "web-1", tell); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(told, " "); got != "SetInstance UpdateInstanceMetadataOptions UpdateInstanceEvents" {
			t.Errorf("told of %s", got)
		}
		for _, want := range []string{"ami-foreign", `"foreign"`, `"required"`, `"stop"`} {
			if got := state(t, c, "web-1"); !strings.Contains(got, want) {
				t.Errorf("%s has no %s", got, want)
			}
		}
		at := time.Date(2026, 1, 2, 3, 4, 5, 6e8, time.UTC)
		recorded := &openimds.Recording{Source: "http://there", RecordedAt: at, Items: []openimds.RecordedItem{
			{Path: "", Listing: true, ContentType: "text/plain", Modified: at, Body: []byte("latest")},
			{Path: "latest", Listing: true, ContentType: "text/plain", Body: []byte("x")},
			{Path: "latest/x", ContentType: "text/plain", Body: []byte("hi")},
		}}
		told = nil
		if err := OfRecording(recorded).Onto(t.Context(), c, "made", tell); err != nil {
			t.Fatal(err)
		}
		if got := state(t, c, "made"); !strings.Contains(got, `"2026-01-02T03:04:05Z"`) || strings.Join(told, " ") != "SetInstance" {
			t.Errorf("%s, told of %s", got, told)
		}
	})
}
