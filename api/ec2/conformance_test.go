package ec2_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/ec2"
	"github.com/openimds/openimds/api/ec2query"
)

// How a newer model is taken over, where python3 has its botocore:
//
//go:generate go test -run ^TestModel$ -update .

var update = flag.Bool("update", false, "take over the facts of the botocore that is installed")

const factsFile = "testdata/model.json"

// facts are what the model of EC2's API says of the actions that are built: names, types, what is required, short lists
// of values.
type facts struct {
	Botocore string                 `json:"botocore"`
	Requests map[string]*modelShape `json:"requests"`
	Results  map[string]*modelShape `json:"results"`
}

type modelShape struct {
	Type     string                 `json:"type"`
	Members  map[string]*modelShape `json:"members,omitempty"`
	Item     *modelShape            `json:"item,omitempty"`
	Required []string               `json:"required,omitempty"`
	Enum     []string               `json:"enum,omitempty"`
}

const extract = `
import botocore, botocore.session, json, sys
model = botocore.session.get_session().get_service_model("ec2")
def name(n, m, request):
    if not request: return m.serialization.get("name") or n
    q = m.serialization.get("queryName")
    if q: return q
    l = m.serialization.get("name")
    return l[0].upper() + l[1:] if l else n
def shape(s, request, depth):
    f = {"type": s.type_name}
    if s.type_name == "structure" and depth:
        f["members"] = {name(n, m, request): shape(m, request, depth - 1) for n, m in s.members.items()}
        f["required"] = sorted(name(n, m, request) for n, m in s.members.items() if n in s.required_members)
    if s.type_name == "list": f["item"] = shape(s.member, request, depth)
    enum = getattr(s, "enum", None)
    if enum and len(enum) <= 30: f["enum"] = sorted(enum)
    return f
requests, results = {}, {}
for action in sys.argv[1:]:
    op = model.operation_model(action)
    requests[action] = shape(op.input_shape, True, 4)
    if op.output_shape: results[action] = shape(op.output_shape, False, 8)
json.dump({"botocore": botocore.__version__, "requests": requests, "results": results}, sys.stdout)
`

func actionNames() []string { return slices.Sorted(maps.Keys(ec2.Actions())) }

func loadFacts(t *testing.T) facts {
	t.Helper()
	if *update {
		out, err := exec.CommandContext(t.Context(), "python3", append([]string{"-c", extract}, actionNames()...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		var small bytes.Buffer
		if err := json.Indent(&small, out, "", " "); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(factsFile, append(small.Bytes(), '\n'), 0o644); err != nil { //nolint:gosec // source
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(factsFile)
	if err != nil {
		t.Fatal(err)
	}
	var f facts
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// narrower are members that are bound to less than the model says, or more, and why.
var narrower = map[string]string{
	"RunInstances.Placement.Tenancy":              "every instance has the default one",
	"RunInstances.Monitoring.Enabled":             "required, within a member that need not be there; openimds measures nothing more often",
	"CreateTags.Tag.Key":                          "a tag without a key is none",
	"DeleteTags.Tag.Key":                          "a tag without a key is none",
	"RunInstances.TagSpecification.Tag.Key":       "a tag without a key is none",
	"ImportKeyPair.TagSpecification.Tag.Key":      "a tag without a key is none",
	"RunInstances.TagSpecification.ResourceType":  "what may be tagged is told when it is read",
	"ImportKeyPair.TagSpecification.ResourceType": "what may be tagged is told when it is read",
}

// TestModel holds the shapes against EC2's own model: a request has all members of the model's with its types, what is
// required and its values, an answer none that the model does not have.
func TestModel(t *testing.T) {
	f := loadFacts(t)
	for name, shapes := range ec2.Actions() {
		if f.Requests[name] == nil {
			t.Errorf("%s is no action of EC2's", name)
			continue
		}
		delete(f.Requests[name].Members, "DryRun") // which every action has
		sameRequest(t, name, shapes.Request, f.Requests[name])
		if result := f.Results[name]; result != nil {
			within(t, name, shapes.Result, result)
		}
	}
}

var unbuilt = reflect.TypeFor[ec2query.Unbuilt]()

func sameRequest(t *testing.T, at string, ours reflect.Type, theirs *modelShape) {
	t.Helper()
	for ours.Kind() == reflect.Pointer {
		ours = ours.Elem()
	}
	switch {
	case ours == unbuilt:
		return
	case kindOf(ours) != plain(theirs.Type):
		t.Errorf("%s is of the type %s, the model's of %s", at, ours, theirs.Type)
		return
	case theirs.Type == "list":
		sameRequest(t, at, ours.Elem(), theirs.Item)
		return
	case theirs.Type != "structure":
		of, limited := reflect.Zero(ours).Interface().(ec2query.Enumerated)
		if narrower[at] == "" && (limited || len(theirs.Enum) > 0) {
			var values []string
			if limited {
				values = slices.Sorted(slices.Values(of.Values()))
			}
			if !slices.Equal(values, theirs.Enum) {
				t.Errorf("%s is one of %v, the model's of %v", at, values, theirs.Enum)
			}
		}
		return
	}
	known := map[string]bool{}
	for i := range ours.NumField() {
		field := ours.Field(i)
		name := ec2query.MemberName(field)
		known[name] = true
		member := theirs.Members[name]
		if member == nil {
			t.Errorf("%s.%s is not in the model", at, name)
			continue
		}
		if required := slices.Contains(theirs.Required, name); required != ec2query.IsRequired(field) && narrower[at+"."+name] == "" && !optionalFilter(name, at) {
			t.Errorf("%s.%s is required: %v, the model's: %v", at, name, !required, required)
		}
		sameRequest(t, at+"."+name, field.Type, member)
	}
	for name := range theirs.Members {
		if !known[name] {
			t.Errorf("%s.%s is missing here", at, name)
		}
	}
}

// optionalFilter: a filter needs a name, though the model does not say so.
func optionalFilter(name, at string) bool { return name == "Name" && strings.HasSuffix(at, ".Filter") }

// within says whether an answer has only what the model has.
func within(t *testing.T, at string, ours reflect.Type, theirs *modelShape) {
	t.Helper()
	for ours.Kind() == reflect.Pointer {
		ours = ours.Elem()
	}
	if kindOf(ours) != plain(theirs.Type) {
		t.Errorf("%s is of the type %s, the model's of %s", at, ours, theirs.Type)
		return
	}
	switch theirs.Type {
	case "list":
		if ours.Elem() != reflect.TypeFor[struct{}]() { // always empty
			within(t, at, ours.Elem(), theirs.Item)
		}
	case "structure":
		for i := range ours.NumField() {
			name, _, _ := strings.Cut(ours.Field(i).Tag.Get("ec2"), ",")
			if theirs.Members[name] == nil {
				t.Errorf("%s.%s is not in the model", at, name)
				continue
			}
			within(t, at+"."+name, ours.Field(i).Type, theirs.Members[name])
		}
	}
}

// plain is the kind of the model's types that stand for one here.
func plain(kind string) string {
	switch kind {
	case "long":
		return "integer"
	case "blob":
		return "blob"
	}
	return kind
}

func kindOf(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return "timestamp"
	case t == reflect.TypeFor[ec2query.Blob]():
		return "blob"
	case t.Kind() == reflect.Struct:
		return "structure"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Bool:
		return "boolean"
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		return "integer"
	}
	return "string"
}
