package cloudwatch

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds/api/awsjson"
)

// shape is one of botocore's model, as far as it matters here.
type shape struct {
	Type      string
	Required  []string
	Enum      []string
	Members   map[string]struct{ Shape string }
	Member    struct{ Shape string }
	Exception bool
	Error     struct {
		Code           string
		HTTPStatusCode int `json:"httpStatusCode"`
	}
}

type model struct {
	Metadata   struct{ APIVersion, TargetPrefix, XMLNamespace string }
	Operations map[string]struct {
		Input, Output struct{ Shape, ResultWrapper string }
		Errors        []struct{ Shape string }
	}
	Shapes map[string]shape
}

// loadModel reads the model of the botocore that is installed. Without one the test is skipped.
func loadModel(t *testing.T) *model {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed, so there is no botocore to compare with")
	}
	out, err := exec.CommandContext(t.Context(), path, "-c", "import botocore; print(botocore.__path__[0])").Output()
	if err != nil {
		t.Skip("python3 has no module botocore to compare with")
	}
	file := filepath.Join(strings.TrimSpace(string(out)), "data", "cloudwatch", "2010-08-01", "service-2.json")
	var text io.Reader
	f, err := os.Open(file + ".gz")
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
	m := new(model)
	if err := json.NewDecoder(text).Decode(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Where this package is otherwise than the model, and why.
var (
	// left are members that are left out of answers.
	left = map[string]string{
		"Datapoint.ExtendedStatistics":                   "no percentiles are kept",
		"GetMetricDataOutput.Messages":                   "what there is to say is of one result",
		"ListMetricsOutput.OwningAccounts":               "there is one account",
		"DescribeAlarmsOutput.CompositeAlarms":           "there are none",
		"MetricAlarm.AlarmConfigurationUpdatedTimestamp": "not kept",
		"MetricAlarm.ExtendedStatistic":                  "no alarm has one",
		"MetricAlarm.EvaluateLowSampleCountPercentile":   "the same",
		"MetricAlarm.Metrics":                            "the same",
		"MetricAlarm.ThresholdMetricId":                  "the same",
		"MetricAlarm.EvaluationState":                    "alarms are evaluated whole or not at all",
		"MetricAlarm.EvaluationCriteria":                 "no alarm has one",
		"MetricAlarm.EvaluationInterval":                 "the same",
	}
	// missedLater are members that the model has as required and this package looks for by itself.
	missedLater = map[string]string{"Tag.Value": "a text that may be empty"}
)

// TestModel: requests and answers are the model's, member by member.
func TestModel(t *testing.T) {
	m := loadModel(t)
	c := &comparison{t: t, model: m, excused: map[string]bool{}}
	for name, found := range table() {
		op, there := m.Operations[name]
		if !there {
			t.Errorf("the model has no operation %s", name)
			continue
		}
		c.structure(reflect.TypeOf(found.request()).Elem(), op.Input.Shape, true)
		if found.result.NumField() > 0 {
			c.structure(found.result, op.Output.Shape, false)
			if op.Output.ResultWrapper != name+"Result" {
				t.Errorf("the answer of %s is in a %s", name, op.Output.ResultWrapper)
			}
		}
	}
	for _, list := range []map[string]string{left, missedLater} {
		for name, why := range list {
			if !c.excused[name] {
				t.Errorf("%s is no difference any more: %q", name, why)
			}
		}
	}
}

type comparison struct {
	t       *testing.T
	model   *model
	excused map[string]bool
}

func (c *comparison) structure(ours reflect.Type, name string, request bool) {
	theirs := c.model.Shapes[name]
	known := map[string]bool{}
	for i := range ours.NumField() {
		f := ours.Field(i)
		member := awsjson.MemberName(f)
		known[member] = true
		at := name + "." + member
		target, there := theirs.Members[member]
		if !there {
			c.t.Errorf("%s is not in the model", at)
			continue
		}
		if required := slices.Contains(theirs.Required, member); request && required != awsjson.IsRequired(f) {
			if c.excused[at] = true; missedLater[at] == "" {
				c.t.Errorf("%s: required is %v here", at, !required)
			}
		}
		if f.Type != reflect.TypeFor[awsjson.Unbuilt]() {
			c.value(at, f.Type, target.Shape, request)
		}
	}
	for member := range theirs.Members {
		if at := name + "." + member; !known[member] {
			if c.excused[at] = true; request || left[at] == "" {
				c.t.Errorf("%s is missing here", at)
			}
		}
	}
}

func (c *comparison) value(at string, ours reflect.Type, name string, request bool) {
	if ours.Kind() == reflect.Pointer {
		ours = ours.Elem()
	}
	theirs := c.model.Shapes[name]
	kinds := map[string]reflect.Kind{"string": reflect.String, "boolean": reflect.Bool, "integer": reflect.Int, "double": reflect.Float64, "structure": reflect.Struct, "list": reflect.Slice, "timestamp": reflect.Struct}
	if ours.Kind() != kinds[theirs.Type] || (ours == reflect.TypeFor[awsjson.Epoch]()) != (theirs.Type == "timestamp") {
		c.t.Errorf("%s is a %s in the model, %v here", at, theirs.Type, ours)
		return
	}
	switch theirs.Type {
	case "structure":
		c.structure(ours, name, request)
	case "list":
		c.value(at, ours.Elem(), theirs.Member.Shape, request)
	case "string":
		if words, ok := reflect.Zero(ours).Interface().(awsjson.Enumerated); request && (ok != (len(theirs.Enum) > 0) || ok && !reflect.DeepEqual(words.Values(), theirs.Enum)) {
			c.t.Errorf("%s is one of %v in the model", at, theirs.Enum)
		}
	}
}

// TestModelErrors: what failures are called is the model's, with its statuses.
func TestModelErrors(t *testing.T) {
	m := loadModel(t)
	ours := map[string]*failure{}
	for _, make := range []func(string, ...any) *failure{invalidValue, invalidCombination, missingParameter, invalidNextToken, invalidFormat, limitExceeded, resourceNotFound, resourceUnknown, internal} {
		f := make("")
		ours[f.shape] = f
		theirs := m.Shapes[f.shape]
		if !theirs.Exception || theirs.Error.Code != f.code || theirs.Error.HTTPStatusCode != f.status {
			t.Errorf("%s is %+v in the model, %+v here", f.shape, theirs.Error, f)
		}
	}
	for name := range table() {
		for _, e := range m.Operations[name].Errors {
			if ours[e.Shape] == nil && !strings.HasPrefix(e.Shape, "Con") { // conflicts between writers are tried again here
				t.Errorf("%s may fail with %s, which does not arise here", name, e.Shape)
			}
		}
	}
	if m.Metadata.TargetPrefix+"." != targetPrefix || m.Metadata.XMLNamespace != namespace {
		t.Errorf("%+v", m.Metadata)
	}
}
