package clients

import (
	"encoding/base64"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
)

// newEC2 makes the SDK's client of EC2's API, as a user's own configuration has it.
func newEC2(t *testing.T, s *server) *ec2.Client {
	t.Helper()
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"), config.WithSharedConfigFiles([]string{os.DevNull}),
		config.WithSharedCredentialsFiles([]string{filepath.Join(s.DataDir, "credentials")}))
	if err != nil {
		t.Fatal(err)
	}
	return ec2.NewFromConfig(cfg, func(o *ec2.Options) { o.BaseEndpoint = aws.String("http://" + s.API) })
}

// codeOf is EC2's name for a failure; empty: it is none of EC2's.
func codeOf(err error) string {
	if refused, ok := errors.AsType[smithy.APIError](err); ok {
		return refused.ErrorCode()
	}
	return ""
}

// TestEC2 has the SDK for Go run instances, wait for each of their states, read all pages, change options whose effect the
// guest sees, and know failures by their codes.
func TestEC2(t *testing.T) {
	s := serve(t, nil)
	api, ctx := newEC2(t, s), t.Context()
	images, err := api.DescribeImages(ctx, &ec2.DescribeImagesInput{Owners: []string{"amazon"}, Filters: []types.Filter{{Name: aws.String("name"), Values: []string{"ubuntu_*"}}}})
	if err != nil || len(images.Images) == 0 {
		t.Fatalf("%+v, %v", images, err)
	}
	launch := &ec2.RunInstancesInput{
		ImageId: images.Images[0].ImageId, MinCount: aws.Int32(6), MaxCount: aws.Int32(6), ClientToken: aws.String("once"),
		UserData:          aws.String(base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n"))),
		MetadataOptions:   &types.InstanceMetadataOptionsRequest{HttpTokens: "required", HttpPutResponseHopLimit: aws.Int32(3), InstanceMetadataTags: "enabled"},
		TagSpecifications: []types.TagSpecification{{ResourceType: "instance", Tags: []types.Tag{{Key: aws.String("tier"), Value: aws.String("a b")}}}},
	}
	made, err := api.RunInstances(ctx, launch)
	if err != nil || len(made.Instances) != 6 {
		t.Fatalf("%+v, %v", made, err)
	}
	if again, err := api.RunInstances(ctx, launch); err != nil || *again.ReservationId != *made.ReservationId {
		t.Errorf("the same token: %+v, %v", again, err)
	}
	var ids []string
	for _, in := range made.Instances {
		ids = append(ids, *in.InstanceId)
	}
	these := &ec2.DescribeInstancesInput{InstanceIds: ids}
	quick := func(o *ec2.InstanceRunningWaiterOptions) { o.MinDelay = 10 * time.Millisecond }
	running, err := ec2.NewInstanceRunningWaiter(api, quick).WaitForOutput(ctx, these, patience)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range running.Reservations {
		for _, in := range r.Instances {
			if o := in.MetadataOptions; o.HttpTokens != "required" || *o.HttpPutResponseHopLimit != 3 || o.InstanceMetadataTags != "enabled" || o.HttpEndpoint != "enabled" || *in.Tags[0].Value != "a b" {
				t.Errorf("%+v %+v", o, in.Tags)
			}
		}
	}
	seen, pages := []string{}, 0
	all := ec2.NewDescribeInstancesPaginator(api, &ec2.DescribeInstancesInput{MaxResults: aws.Int32(5), Filters: []types.Filter{{Name: aws.String("tag:tier"), Values: []string{"a*"}}}})
	for all.HasMorePages() {
		page, err := all.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, r := range page.Reservations {
			for _, in := range r.Instances {
				seen = append(seen, *in.InstanceId)
			}
		}
	}
	slices.Sort(seen)
	if slices.Sort(ids); !slices.Equal(seen, ids) || pages != 2 {
		t.Errorf("%v on %d pages, not %v", seen, pages, ids)
	}

	// The guest obeys what was changed, and what was not given stays.
	s.calledByV1(t, 1)
	changed, err := api.ModifyInstanceMetadataOptions(ctx, &ec2.ModifyInstanceMetadataOptionsInput{InstanceId: &s.Instance.ID, HttpTokens: "required"})
	if err != nil || changed.InstanceMetadataOptions.HttpTokens != "required" {
		t.Fatalf("%+v, %v", changed, err)
	}
	w := &witness{}
	if _, err := newSDK(s, w).GetRegion(ctx, nil); err != nil || w.tokens() != 1 {
		t.Errorf("by version 2: %v, %v", err, w.seen)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the change is pending until the guest obeys it
		status, _ := s.get(t, "/latest/meta-data/instance-id", "")
		if status == http.StatusUnauthorized {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("by version 1: %d", status)
		}
	}
	defaults := &ec2.ModifyInstanceMetadataDefaultsInput{HttpTokens: "required", HttpTokensEnforced: "enabled"}
	if done, err := api.ModifyInstanceMetadataDefaults(ctx, defaults); err != nil || !*done.Return {
		t.Errorf("%+v, %v", done, err)
	}
	if now, err := api.GetInstanceMetadataDefaults(ctx, nil); err != nil || now.AccountLevel.HttpTokens != "required" || now.AccountLevel.HttpTokensEnforced != "enabled" {
		t.Errorf("%+v, %v", now, err)
	}

	for code, try := range map[string]func() error{
		"UnsupportedOperation": func() error {
			_, err := api.ModifyInstanceMetadataOptions(ctx, &ec2.ModifyInstanceMetadataOptionsInput{InstanceId: &ids[0], HttpTokens: "optional"})
			return err
		},
		"InvalidParameterValue": func() error {
			_, err := api.ModifyInstanceMetadataOptions(ctx, &ec2.ModifyInstanceMetadataOptionsInput{InstanceId: &ids[0], HttpPutResponseHopLimit: aws.Int32(65)})
			return err
		},
		"InvalidInstanceID.NotFound": func() error {
			_, err := api.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{"i-0123456789abcdef0"}})
			return err
		},
		"InvalidInstanceID.Malformed": func() error {
			_, err := api.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: []string{"x"}})
			return err
		},
		"DryRunOperation": func() error {
			_, err := api.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: ids, DryRun: aws.Bool(true)})
			return err
		},
		"IdempotentParameterMismatch": func() error {
			other := *launch
			other.MinCount = aws.Int32(1)
			_, err := api.RunInstances(ctx, &other)
			return err
		},
		"InvalidAction": func() error {
			_, err := api.DescribeVpcs(ctx, nil)
			return err
		},
	} {
		if err := try(); codeOf(err) != code {
			t.Errorf("%s: %v", code, err)
		}
	}

	if _, err := api.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: ids}); err != nil {
		t.Fatal(err)
	}
	if err := ec2.NewInstanceStoppedWaiter(api, func(o *ec2.InstanceStoppedWaiterOptions) { o.MinDelay = 10 * time.Millisecond }).Wait(ctx, these, patience); err != nil {
		t.Fatal(err)
	}
	if _, err := api.TerminateInstances(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids}); err != nil {
		t.Fatal(err)
	}
	if err := ec2.NewInstanceTerminatedWaiter(api, func(o *ec2.InstanceTerminatedWaiterOptions) { o.MinDelay = 10 * time.Millisecond }).Wait(ctx, these, patience); err != nil {
		t.Fatal(err)
	}
	if _, err := api.RunInstances(ctx, launch); codeOf(err) != "IdempotentInstanceTerminated" {
		t.Errorf("the token of what is terminated: %v", err)
	}
}
