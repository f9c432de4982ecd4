package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store/mem"
)

// everyone is called by one caller for each instance.
type everyone struct{}

func (everyone) Callers(_ context.Context, instance string, _ time.Time) ([]openimds.Caller, error) {
	return []openimds.Caller{{Source: instance, UserAgent: "curl/8", Counts: map[string]int64{openimds.MetricNoToken: 1}}}, nil
}

// newService is the real API on a store in memory, and a client of it.
func newService(t *testing.T) *client.Client {
	t.Helper()
	store := mem.New()
	t.Cleanup(func() { _ = store.Close() })
	service := control.New(store, control.Config{Region: "us-east-1", AccountID: "123456789012", Callers: everyone{}})
	keys := func(id string) (accesskeys.Key, bool, error) {
		return accesskeys.Key{ID: id, Secret: secret, Profile: "test"}, id == "AKID", nil
	}
	server := httptest.NewServer(api.New(api.Config{
		Protocols: []api.Protocol{lightsail.New(lightsail.Config{Service: service, Version: "1.2.3"})},
		Auth:      sigv4.New(sigv4.Config{Regions: []string{"us-east-1"}, Keys: keys}),
	}))
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{Endpoint: server.URL, Region: "us-east-1", Credentials: aws.CredentialsProviderFunc(signing)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// call carries out what has to succeed.
func call[Q, R any](t *testing.T, c *client.Client, target wire.Target[Q, R], in Q) R {
	t.Helper()
	out, err := client.Call(t.Context(), c, target, in)
	if err != nil {
		t.Fatalf("%s: %v", target.Name, err)
	}
	return out
}

// create makes so many instances, as many at once as the service takes.
func create(t *testing.T, c *client.Client, n int) {
	t.Helper()
	for from := 0; from < n; from += 20 {
		in := wire.CreateInstancesRequest{AvailabilityZone: "us-east-1a", BlueprintID: "debian_12", BundleID: "nano_3_0"}
		for i := from; i < min(from+20, n); i++ {
			in.InstanceNames = append(in.InstanceNames, fmt.Sprintf("web-%04d", i))
		}
		call(t, c, wire.CreateInstances, in)
	}
}

// TestWholeLists: what has more than a page is seen whole.
func TestWholeLists(t *testing.T) {
	c := newService(t)
	const instances = 250
	create(t, c, instances)
	counted := func(name string, got int) {
		if got != instances {
			t.Errorf("%s shows %d", name, got)
		}
	}
	callers, listed, names := 0, 0, 0
	for page, err := range client.Pages(t.Context(), c, wire.GetInstances, wire.GetInstancesRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		listed += len(page.Instances)
	}
	counted("GetInstances", listed)
	for page, err := range client.Pages(t.Context(), c, wire.GetCallers, wire.GetCallersRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		callers += len(page.Callers)
	}
	counted("GetCallers", callers)
	for page, err := range client.Pages(t.Context(), c, wire.GetActiveNames, wire.PageRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		names += len(page.ActiveNames)
	}
	if names < instances {
		t.Errorf("GetActiveNames shows %d", names)
	}
	operations := 0
	for page, err := range client.Pages(t.Context(), c, wire.GetOperations, wire.PageRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		operations += len(page.Operations)
	}
	if operations < instances {
		t.Errorf("GetOperations shows %d", operations)
	}
}

// same asks twice, for the answer as it is and for the shape: what the shape holds is all of the answer.
func same[Q, R any](t *testing.T, c *client.Client, target wire.Target[Q, R], in Q) {
	t.Helper()
	raw := call(t, c, wire.Target[Q, json.RawMessage]{Name: target.Name}, in)
	again, err := awsjson.Marshal(call(t, c, target, in))
	if err != nil || string(again) != string(raw) {
		t.Errorf("%s: %v\n got %s\nwant %s", target.Name, err, again, raw)
	}
}

// TestShapes: what the service answers comes out of the shapes as it went in, to the byte.
func TestShapes(t *testing.T) {
	c := newService(t)
	create(t, c, 1)
	const name = "web-0000"
	one := wire.InstanceRequest{InstanceName: name}
	call(t, c, wire.SetInstance, wire.SetInstanceRequest{
		InstanceName: name, UserData: new(awsjson.Blob("#!/bin/sh <&>")), RoleName: new("app"),
	})
	call(t, c, wire.UpdateInstanceMetadataOptions, wire.UpdateInstanceMetadataOptionsRequest{InstanceName: name, HTTPTokens: new(wire.HTTPTokens("required")), HTTPPutResponseHopLimit: new(2)})
	call(t, c, wire.UpdateInstanceFaults, wire.UpdateInstanceFaultsRequest{InstanceName: name, Status: new(503), StatusShare: new(0.25)})
	call(t, c, wire.UpdateInstanceEvents, wire.UpdateInstanceEventsRequest{InstanceName: name, Spot: &wire.SpotEvent{Action: "stop", Time: awsjson.At(time.Now().Add(time.Hour))}})
	call(t, c, wire.TagResource, wire.TagResourceRequest{ResourceName: name, Tags: []wire.Tag{{Key: "tier", Value: "web"}, {Key: "empty"}}})
	call(t, c, wire.AllocateStaticIP, wire.StaticIPRequest{StaticIPName: "front"})
	call(t, c, wire.AttachStaticIP, wire.AttachStaticIPRequest{StaticIPName: "front", InstanceName: name})
	call(t, c, wire.CreateKeyPair, wire.CreateKeyPairRequest{KeyPairName: "mine"})
	call(t, c, wire.PutAlarm, wire.PutAlarmRequest{
		AlarmName: "load", MetricName: openimds.MetricNoToken, MonitoredResourceName: name, ComparisonOperator: "GreaterThanThreshold",
		Threshold: new(awsjson.Double(0)), EvaluationPeriods: new(1),
	})
	call(t, c, wire.PutInstancePublicPorts, wire.PutInstancePublicPortsRequest{InstanceName: name, PortInfos: []wire.PortRule{{FromPort: 443, ToPort: 443, Protocol: "tcp"}}})

	same(t, c, wire.GetInstance, wire.GetInstanceRequest{InstanceName: one.InstanceName})
	same(t, c, wire.GetInstances, wire.GetInstancesRequest{})
	same(t, c, wire.GetInstanceState, one)
	same(t, c, wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: name, IncludeUserData: true})
	same(t, c, wire.DescribeInstance, wire.DescribeInstanceRequest{InstanceName: name})
	same(t, c, wire.GetOperations, wire.PageRequest{})
	same(t, c, wire.GetOperationsForResource, wire.GetOperationsForResourceRequest{ResourceName: name})
	same(t, c, wire.GetKeyPairs, wire.GetKeyPairsRequest{IncludeDefaultKeyPair: true})
	same(t, c, wire.GetStaticIPs, wire.PageRequest{})
	same(t, c, wire.GetAlarms, wire.GetAlarmsRequest{})
	same(t, c, wire.GetInstancePortStates, one)
	same(t, c, wire.GetActiveNames, wire.PageRequest{})
	same(t, c, wire.GetBlueprints, wire.CatalogueRequest{})
	same(t, c, wire.GetBundles, wire.CatalogueRequest{})
	same(t, c, wire.GetRegions, wire.GetRegionsRequest{IncludeAvailabilityZones: true})
	same(t, c, wire.GetCallers, wire.GetCallersRequest{Since: awsjson.At(time.Unix(1e9, 0))})

	_, err := client.Call(t.Context(), c, wire.GetInstance, wire.GetInstanceRequest{InstanceName: "absent"})
	if failed, ok := errors.AsType[*client.Error](err); !ok || !failed.NotFound() || failed.Code != "DoesNotExist" || failed.RequestID == "" {
		t.Errorf("%+v", err)
	}
}
