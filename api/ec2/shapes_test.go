package ec2_test

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/ec2"
	"github.com/openimds/openimds/api/ec2/wire"
	"github.com/openimds/openimds/api/ec2query"
)

// filled gives each member of a value one that no other member has, and each list two items.
func filled(v reflect.Value, next *int) {
	*next++
	if of, ok := v.Interface().(ec2query.Enumerated); ok && v.Kind() == reflect.String {
		v.SetString(of.Values()[*next%len(of.Values())])
		return
	}
	switch v.Interface().(type) {
	case ec2query.Unbuilt:
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.UnixMilli(int64(*next)).UTC()))
		return
	case ec2query.Blob:
		v.SetBytes(fmt.Append(nil, "\x00\xff ", *next))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		filled(v.Elem(), next)
	case reflect.Struct:
		for i := range v.NumField() {
			filled(v.Field(i), next)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			filled(v.Index(i), next)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("ü &=+%;<>\n", *next))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*next))
	default:
		panic("nothing fills " + v.Type().String())
	}
}

// again is what a request is when it was written and read.
func again(t *testing.T, action string, request any) any {
	t.Helper()
	form, err := ec2query.Parse(ec2query.Encode(action, wire.Version, request))
	if err != nil {
		t.Fatal(err)
	}
	if a, v := form.Take("Action"), form.Take("Version"); a != action || v != wire.Version {
		t.Errorf("%s %s", a, v)
	}
	read := reflect.New(reflect.TypeOf(request))
	if err := ec2query.Decode(form, read.Interface()); err != nil {
		t.Errorf("%s: %v", action, err)
	}
	return read.Elem().Interface()
}

// TestRequestsComeThrough: what a client writes of any action's request is what the server reads.
func TestRequestsComeThrough(t *testing.T) {
	for name, shapes := range ec2.Actions() {
		request := reflect.New(shapes.Request).Elem()
		filled(request, new(int))
		if got := again(t, name, request.Interface()); !reflect.DeepEqual(got, request.Interface()) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, request.Interface())
		}
	}
	for _, request := range []any{ // what is zero, and yet there
		wire.DeleteTagsRequest{ResourceIDs: []string{"i-1"}, Tags: []wire.TagMatch{{Key: "a", Value: new("")}, {Key: "b"}}},
		wire.DescribeTagsRequest{Filters: []wire.Filter{{Name: "value", Values: []string{"", "x"}}}, MaxResults: new(0)},
	} {
		if got := again(t, "Any", request); !reflect.DeepEqual(got, request) {
			t.Errorf("got %+v, want %+v", got, request)
		}
	}
}

// TestResultsComeThrough: what the server writes of any action's result is what a client reads.
func TestResultsComeThrough(t *testing.T) {
	for name, shapes := range ec2.Actions() {
		result, read := reflect.New(shapes.Result), reflect.New(shapes.Result)
		filled(result.Elem(), new(int))
		if err := ec2query.Unmarshal(ec2query.Marshal(name, "id", result.Elem().Interface()), read.Interface()); err != nil || !reflect.DeepEqual(read.Interface(), result.Interface()) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, read, result)
		}
	}
}

// TestAnswersComeThrough: what a client reads of an answer is all that the server wrote, to the byte.
func TestAnswersComeThrough(t *testing.T) {
	s := newServer(t)
	image := s.image("ubuntu_24_04")
	ask := []string{
		"RunInstances&MinCount=2&MaxCount=2&ImageId=" + image + "&UserData=aGkK&MetadataOptions.HttpTokens=required&TagSpecification.1.ResourceType=instance" +
			"&TagSpecification.1.Tag.1.Key=" + url.QueryEscape("a + ü") + "&TagSpecification.1.Tag.1.Value=",
		"DescribeInstances", "DescribeInstances&MaxResults=5", "DescribeInstances&Filter.1.Name=instance-id&Filter.1.Value.1=none",
		"DescribeInstanceStatus&IncludeAllInstances=true", "DescribeTags", "DescribeRegions", "DescribeAvailabilityZones", "DescribeInstanceTypes", "DescribeImages",
		"DescribeImages&MaxResults=5", "DescribeInstanceAttribute&Attribute=userData&InstanceId=" + s.demo, "DescribeInstanceAttribute&Attribute=groupSet&InstanceId=" + s.demo,
		"DescribeInstanceAttribute&Attribute=disableApiStop&InstanceId=" + s.demo, "GetInstanceMetadataDefaults", "ModifyInstanceMetadataDefaults&HttpTokens=optional&HttpPutResponseHopLimit=3",
		"GetInstanceMetadataDefaults", "ModifyInstanceMetadataOptions&HttpPutResponseHopLimit=7&InstanceId=" + s.demo, "StopInstances&InstanceId.1=" + s.demo,
		"StartInstances&InstanceId.1=" + s.demo, "RebootInstances&InstanceId.1=" + s.demo, "CreateTags&ResourceId.1=" + s.demo + "&Tag.1.Key=k", "DescribeTags",
		"DeleteTags&ResourceId.1=" + s.demo, "ImportKeyPair&KeyName=mine&PublicKeyMaterial=" + url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(publicKey))), "DescribeKeyPairs&IncludePublicKey=true",
		"TerminateInstances&InstanceId.1=" + s.demo, "DescribeInstances",
	}
	asked := map[string]bool{}
	for _, parameters := range ask {
		action, _, _ := strings.Cut(parameters, "&")
		asked[action] = true
		body := s.must("Action=" + parameters)
		result := reflect.New(ec2.Actions()[action].Result)
		if err := ec2query.Unmarshal([]byte(body), result.Interface()); err != nil {
			t.Errorf("%s: %v", parameters, err)
		}
		_, id, _ := strings.Cut(body, "<requestId>")
		id, _, _ = strings.Cut(id, "</requestId>")
		if got := string(ec2query.Marshal(action, id, result.Elem().Interface())); got != body {
			t.Errorf("%s:\n got %s\nwant %s", parameters, got, body)
		}
	}
	for action := range ec2.Actions() {
		if !asked[action] {
			t.Errorf("no answer of %s was read", action)
		}
	}
}

// TestOthersAnswers: what Amazon's answers have besides is passed over; what cannot be read is not taken for zero.
func TestOthersAnswers(t *testing.T) {
	type result = wire.ModifyInstanceMetadataOptionsResult
	const good = `<?xml version="1.0"?><!-- x --><ModifyInstanceMetadataOptionsResponse xmlns="http://other/"><new><hop>1</hop><item/></new>
		<instanceMetadataOptions><httpTokens>required</httpTokens><httpPutResponseHopLimit>2</httpPutResponseHopLimit><later a="b"/></instanceMetadataOptions>
		<instanceId>i-1&amp;</instanceId></ModifyInstanceMetadataOptionsResponse>`
	var got result
	if err := ec2query.Unmarshal([]byte(good), &got); err != nil || got.InstanceID != "i-1&" || got.MetadataOptions.HTTPTokens != "required" || got.MetadataOptions.HopLimit != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	bad := map[string]string{
		"": "no XML", "{}": "no XML", "<html></html>": "no answer of an action", good[:len(good)-60]: "unexpected EOF",
		strings.Replace(good, ">2<", "><", 1):    "its httpPutResponseHopLimit is \"\": it must be a whole number",
		strings.Replace(good, ">2<", ">9e9<", 1): "must be a whole number",
	}
	for text, want := range bad {
		if err := ec2query.Unmarshal([]byte(text), new(result)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, not %s", text, err, want)
		}
	}
	for text, v := range map[string]any{
		"<R><launchTime>yesterday</launchTime></R>": new(wire.Instance), "<R><return>1x</return></R>": new(wire.Done),
	} {
		text = strings.ReplaceAll(text, "R>", "Response>")
		if err := ec2query.Unmarshal([]byte(text), v); err == nil {
			t.Errorf("%s was read", text)
		}
	}
}

// TestFailuresComeThrough: a client reads code, text and request of a failure.
func TestFailuresComeThrough(t *testing.T) {
	s := newServer(t)
	a := s.call("Action=DescribeInstances&InstanceId.1=i-00000000")
	e, id, ok := ec2query.UnmarshalError([]byte(a.body))
	if a.status != http.StatusBadRequest || !ok || e.Code != "InvalidInstanceID.NotFound" || !strings.Contains(e.Message, "i-00000000") || id == "" || id != a.header.Get("x-amzn-RequestId") {
		t.Errorf("%d %v, %q, %v: %s", a.status, e, id, ok, a.body)
	}
	for _, text := range []string{"", "{}", "<html/>", "<Response/>", s.must("Action=DescribeRegions")} {
		if _, _, ok := ec2query.UnmarshalError([]byte(text)); ok {
			t.Errorf("%.80q was read as a failure", text)
		}
	}
	if err := xml.Unmarshal([]byte(a.body), new(struct{})); err != nil {
		t.Error(err)
	}
}
