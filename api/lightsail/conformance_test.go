package lightsail

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// botocoreModel is the part of a botocore service model that matters here.
type botocoreModel struct {
	version    string
	Operations map[string]struct {
		Input, Output struct{ Shape string }
		Errors        []struct{ Shape string }
	}
	Shapes map[string]*modelShape
}

type modelShape struct {
	Type     string
	Required []string
	Enum     []string
	Pattern  string
	Min, Max *float64
	Members  map[string]struct{ Shape string }
	Member   struct{ Shape string }
}

// loadModel reads the model of the botocore that is installed. Without one the test is skipped.
func loadModel(t *testing.T) *botocoreModel {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed, so there is no botocore to compare with")
	}
	out, err := exec.CommandContext(t.Context(), path, "-c", "import botocore; print(botocore.__version__, botocore.__path__[0])").Output()
	if err != nil {
		t.Skip("python3 has no module botocore to compare with")
	}
	version, dir, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	file := filepath.Join(dir, "data", "lightsail", "2016-11-28", "service-2.json")
	model := &botocoreModel{version: version}
	f, err := os.Open(file + ".gz")
	var text io.Reader = f
	if err == nil {
		text, err = gzip.NewReader(f)
	} else {
		f, err = os.Open(file)
		text = f
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := json.NewDecoder(text).Decode(model); err != nil {
		t.Fatal(err)
	}
	return model
}

// Where this package is otherwise than the model, and why. Each entry has to be true, or the test
// fails: a difference that is gone leaves the list.
var (
	// notTaken are members of requests that are passed over.
	notTaken = map[string]string{
		"CreateInstances.customImageName": "deprecated, without effect at AWS too",
		"GetSetupHistory.pageToken":       "no page gives one",
	}
	// notShown are members of answers that are left out.
	notShown = map[string]string{
		"GetOperationsForResource.nextPageCount": "deprecated in favour of nextPageToken",
		"GetSetupHistory.nextPageToken":          "the list is empty",
		"Instance.addOns":                        "nothing has any",
		"Disk.name":                              "a system disk has none, as recorded",
		"Disk.arn":                               "the same",
		"Disk.supportCode":                       "the same",
		"Disk.location":                          "the same",
		"Disk.resourceType":                      "the same",
		"Disk.tags":                              "the same",
		"Disk.addOns":                            "the same",
		"Disk.state":                             "the same",
		"Disk.isAttached":                        "the same",
		"Disk.gbInUse":                           "deprecated",
		"Disk.autoMountStatus":                   "of further disks only",
		"Blueprint.description":                  "not known",
		"Blueprint.licenseUrl":                   "not known",
		"Blueprint.appCategory":                  "no blueprint is for research",
		"Bundle.supportedAppCategories":          "no bundle is for research",
		"Alarm.supportCode":                      "its form is not known",
		"InstanceAccessDetails.certKey":          "no certificate is made, the key is the guest's own",
		"InstanceAccessDetails.expiresAt":        "the key does not expire",
		"InstanceAccessDetails.password":         "not known",
		"InstanceAccessDetails.passwordData":     "not known",
	}
	// ownMembers are ours, or of SDKs newer than the model.
	ownMembers = map[string]string{
		"StartInstance.attributeUpdates":                     "of aws-sdk-go-v2 1.70",
		"GetInstance.includeHealthStatus":                    "the same",
		"GetInstances.includeHealthStatus":                   "the same",
		"Instance.instanceStatus":                            "the same",
		"Instance.systemStatus":                              "the same",
		"Instance.faults":                                    "while there are faults on purpose, they are shown wherever the instance is",
		"InstanceMetadataOptions.instanceMetadataTags":       "an option of EC2's, which the same instance has",
		"UpdateInstanceMetadataOptions.instanceMetadataTags": "an option of EC2's, which the same instance has",
		"Instance.rehearsal":                                 "while required tokens are rehearsed, it is shown wherever the instance is",
		"Instance.pendingHosts":                              "while options are pending, GetInstance names the hosts that do not obey them yet",
	}
	// ownWords are words of requests that the model does not have.
	ownWords = map[string][]string{
		// of aws-sdk-go-v2 1.71
		"InstanceMetricName": {"DiskReadOps", "DiskWriteOps", "DiskReadBytes", "DiskWriteBytes", "DiskTotalReadTime", "DiskTotalWriteTime", "DiskQueueLength"},
		"MetricName":         {openimds.MetricNoToken, openimds.MetricNoTokenRejected},
	}
	// neverFails are operations that have no OperationFailureException, and do nothing that could fail so.
	neverFails = map[string]string{
		"GetCostEstimate": "it only looks at an instance",
		"GetSetupHistory": "the same",
	}
	// ownPatterns are of types whose pattern is not the model's.
	ownPatterns = map[string]string{
		"ResourceName": "the service has Lightsail's own rule, which takes dots",
	}
	// ownMost are upper ends of ranges that are not the model's.
	ownMost = map[string]int{
		"MetricPeriod": math.MaxInt32, // see metricPeriod
	}
)

// conformance compares with the model, and notes what it was excused for.
type conformance struct {
	t       *testing.T
	model   *botocoreModel
	newer   bool
	excused map[string]bool
	seen    map[string]bool
}

// drift tells of something that the model has and this package does not: a failure, unless the model
// is newer than the one that this package knows.
func (c *conformance) drift(format string, args ...any) {
	c.t.Helper()
	if c.newer {
		c.t.Logf("botocore "+c.model.version+" is newer: "+format, args...)
		return
	}
	c.t.Errorf(format, args...)
}

// compareVersions is negative if a is older than b, positive if it is newer.
func compareVersions(a, b string) int {
	var parts [2][3]int
	for i, version := range []string{a, b} {
		_, _ = fmt.Sscanf(version, "%d.%d.%d", &parts[i][0], &parts[i][1], &parts[i][2])
	}
	return slices.Compare(parts[0][:], parts[1][:])
}

func TestModel(t *testing.T) {
	model := loadModel(t)
	age := compareVersions(model.version, modelVersion)
	if age < 0 {
		t.Skipf("botocore %s is older than %s, which this package was written against", model.version, modelVersion)
	}
	c := &conformance{t: t, model: model, newer: age > 0, excused: map[string]bool{}, seen: map[string]bool{}}
	for name := range model.Operations {
		if !slices.Contains(modelled(), name) {
			c.drift("the operation %s is not known here", name)
		}
	}
	for _, name := range modelled() {
		if _, ok := model.Operations[name]; ok == slices.Contains(newOperations, name) {
			t.Errorf("the model has the operation %s: %v", name, ok)
		}
	}
	for _, act := range lightsailActions() {
		name := strings.TrimPrefix(act.target, targetLightsail)
		op, ok := model.Operations[name]
		if !ok {
			if !slices.Contains(newOperations, name) {
				t.Errorf("the model has no operation %s", name)
			}
			continue
		}
		c.request(name, act.request, op.Input.Shape)
		c.result(name, act.result, op.Output.Shape)
		for _, kind := range []openimds.Kind{openimds.Internal, openimds.InvalidInput, openimds.NotFound, openimds.OperationFailure, openimds.AccessDenied, openimds.Unavailable} {
			exception, _ := exception(kind)
			if fails := c.fails(name, exception); fails == (kind == openimds.OperationFailure && neverFails[name] != "") {
				t.Errorf("by the model %s can fail with %s: %v", name, exception, fails)
			}
		}
	}
	for _, u := range unheldOperations() {
		op := model.Operations[u.operation]
		request, answer := c.shape(op.Input.Shape), c.shape(op.Output.Shape)
		if _, there := request.Members[u.name]; there != (u.name != "") {
			t.Errorf("the model's %s has no member %s", u.operation, u.name)
		}
		if u.needsName != slices.Contains(request.Required, u.name) {
			t.Errorf("%s.%s: required is %v here", u.operation, u.name, u.needsName)
		}
		if list := answer.Members[u.list].Shape; u.list != "" && c.shape(list).Type != "list" {
			t.Errorf("the model's %s has no list %s", u.operation, u.list)
		}
	}
	c.unbuilt()
	for _, list := range []map[string]string{notTaken, notShown, ownMembers} {
		for name, why := range list {
			if !c.excused[name] {
				t.Errorf("%s is no difference any more: %q", name, why)
			}
		}
	}
}

// fails says whether the model has an operation fail with that exception.
func (c *conformance) fails(operation, exception string) bool {
	return slices.ContainsFunc(c.model.Operations[operation].Errors, func(e struct{ Shape string }) bool { return e.Shape == exception })
}

// unbuilt sees that clients know the failure of each operation that is not built, and those of the ones that find
// nothing.
func (c *conformance) unbuilt() {
	unheld := map[string]bool{}
	for _, u := range unheldOperations() {
		unheld[u.operation] = true
		if u.name != "" && !c.fails(u.operation, "NotFoundException") {
			c.t.Errorf("by the model %s cannot fail with NotFoundException", u.operation)
		}
	}
	targets, seen := table(), 0
	for name := range c.model.Operations {
		act, known := targets[targetLightsail+name]
		if !known || act.request != nil || unheld[name] {
			continue
		}
		seen++
		_, err := act.run(nil, c.t.Context(), []byte("{}"))
		if failure := asWire(err); err == nil || failure.status != http.StatusBadRequest || !c.fails(name, failure.name) {
			c.t.Errorf("%s, which is not built, fails with %v, which by the model it cannot", name, err)
		}
	}
	if seen < 50 {
		c.t.Errorf("only %d operations are not built", seen)
	}
}

// request compares a request's structure, with everything that the model demands of it.
func (c *conformance) request(at string, ours reflect.Type, name string) {
	shape := c.shape(name)
	members := c.members(at, ours, shape, notTaken)
	for member, f := range members {
		path := at + "." + member
		theirs := shape.Members[member].Shape
		if awsjson.IsRequired(f) != slices.Contains(shape.Required, member) {
			c.t.Errorf("%s: required is %v here", path, awsjson.IsRequired(f))
		}
		if f.Type == reflect.TypeFor[awsjson.Unbuilt]() || theirs == "" {
			continue
		}
		c.value(path, f.Type, theirs, true)
	}
}

func (c *conformance) result(at string, ours reflect.Type, name string) {
	shape := c.shape(name)
	for member, f := range c.members(at, ours, shape, notShown) {
		if theirs := shape.Members[member].Shape; theirs != "" {
			c.value(at+"."+member, f.Type, theirs, false)
		}
	}
}

func (c *conformance) shape(name string) *modelShape {
	if shape := c.model.Shapes[name]; shape != nil {
		return shape
	}
	return &modelShape{Type: "structure"}
}

// members matches the members of a structure by name, and returns those that both sides have.
func (c *conformance) members(at string, ours reflect.Type, shape *modelShape, missing map[string]string) map[string]reflect.StructField {
	found := map[string]reflect.StructField{}
	for i := range ours.NumField() {
		f := ours.Field(i)
		name := awsjson.MemberName(f)
		if _, ok := shape.Members[name]; !ok {
			if ownMembers[at+"."+name] == "" {
				c.t.Errorf("%s.%s is not in the model", at, name)
			}
			c.excused[at+"."+name] = true
		}
		found[name] = f
	}
	for name := range shape.Members {
		if _, ok := found[name]; ok {
			continue
		}
		c.excused[at+"."+name] = true
		if missing[at+"."+name] == "" {
			c.drift("%s.%s is missing here", at, name)
		}
	}
	return found
}

// value compares a member's type; inRequest, also what the model demands of its values.
func (c *conformance) value(at string, ours reflect.Type, name string, inRequest bool) {
	if ours.Kind() == reflect.Pointer {
		ours = ours.Elem()
	}
	shape := c.shape(name)
	want := map[string]reflect.Kind{"string": reflect.String, "boolean": reflect.Bool, "integer": reflect.Int, "structure": reflect.Struct, "list": reflect.Slice, "timestamp": reflect.Struct}[shape.Type]
	if shape.Type == "double" || shape.Type == "float" {
		want = reflect.Float64
	}
	isTime := ours == reflect.TypeFor[awsjson.Epoch]()
	if ours.Kind() != want || isTime != (shape.Type == "timestamp") {
		c.t.Errorf("%s is a %s in the model, %v here", at, shape.Type, ours)
		return
	}
	switch {
	case ours == reflect.TypeFor[wire.None](): // never there
	case shape.Type == "list":
		c.value(at, ours.Elem(), shape.Member.Shape, inRequest)
	case shape.Type == "structure" && inRequest:
		c.request(name, ours, name)
	case shape.Type == "structure":
		if !c.seen[name] {
			c.seen[name] = true
			c.result(name, ours, name)
		}
	case inRequest:
		c.constraints(at, ours, name, shape)
	}
}

// constraints compares enums, ranges and patterns.
func (c *conformance) constraints(at string, ours reflect.Type, name string, shape *modelShape) {
	zero := reflect.Zero(ours).Interface()
	var words []string
	if e, ok := zero.(awsjson.Enumerated); ok {
		words = e.Values()
	}
	for _, word := range words {
		if !slices.Contains(shape.Enum, word) && !slices.Contains(ownWords[name], word) {
			c.t.Errorf("%s: the model's %s has no word %s", at, name, word)
		}
	}
	for _, word := range shape.Enum {
		if !slices.Contains(words, word) {
			c.drift("%s: the word %s of %s is missing here", at, word, name)
		}
	}
	pattern := ""
	if f, ok := zero.(awsjson.Formed); ok {
		pattern = f.Form().String()
	}
	if pattern != shape.Pattern && ownPatterns[name] == "" {
		c.t.Errorf("%s: the pattern of %s is %q, here %q", at, name, shape.Pattern, pattern)
	}
	if shape.Min == nil && shape.Max == nil {
		return
	}
	b, ok := zero.(awsjson.Bounded)
	if !ok {
		c.t.Errorf("%s: the range of %s is missing here", at, name)
		return
	}
	least, most := b.Bounds()
	if least != int(*shape.Min) || most != cmp.Or(ownMost[name], int(*shape.Max)) {
		c.t.Errorf("%s: %s is %v to %v, here %d to %d", at, name, *shape.Min, *shape.Max, least, most)
	}
}

// TestRequestsCanBeRead sees that the decoder knows the type of every member of every request.
func TestRequestsCanBeRead(t *testing.T) {
	var walk func(at string, typ reflect.Type)
	walk = func(at string, typ reflect.Type) {
		switch typ {
		case reflect.TypeFor[awsjson.Epoch](), reflect.TypeFor[awsjson.Blob](), reflect.TypeFor[awsjson.Unbuilt]():
			return
		}
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice:
			walk(at, typ.Elem())
		case reflect.Map:
			if typ.Key().Kind() != reflect.String {
				t.Errorf("%s: a map by %s", at, typ.Key())
			}
			walk(at, typ.Elem())
		case reflect.Struct:
			for i := range typ.NumField() {
				f := typ.Field(i)
				name := awsjson.MemberName(f)
				if name == "" || !f.IsExported() || name[0] < 'a' || name[0] > 'z' {
					t.Errorf("%s.%s has no name of a member", at, f.Name)
				}
				if check, has := f.Tag.Lookup("check"); has && check != "required" {
					t.Errorf("%s.%s: the constraint %q means nothing", at, f.Name, check)
				}
				if awsjson.IsRequired(f) && (f.Type.Kind() == reflect.Int || f.Type.Kind() == reflect.Float64 || f.Type.Kind() == reflect.Bool || f.Type == reflect.TypeFor[awsjson.Epoch]()) {
					t.Errorf("%s.%s: nobody can tell a missing value from zero; make it a pointer", at, f.Name)
				}
				walk(at+"."+name, f.Type)
			}
		case reflect.String, reflect.Bool, reflect.Int, reflect.Float64:
		default:
			t.Errorf("%s: the decoder cannot read %s", at, typ)
		}
	}
	for target, act := range table() {
		if act.request != nil {
			walk(target, act.request)
		}
	}
}
