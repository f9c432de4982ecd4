package main

import (
	"context"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Nobody waits without an end for what is to sign a request.
func TestKeysAreBounded(t *testing.T) {
	asked := aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("a source that hangs is waited for without an end")
		}
		return aws.Credentials{}, nil
	})
	if _, err := (&client{credentials: asked}).keys(context.Background()); err != nil {
		t.Error(err)
	}
}

// A command of many calls fetches what signs them once, and anew when that has ended.
func TestKeysAreFetchedOnce(t *testing.T) {
	fetched := 0
	c := &client{credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		ends := time.Now().Add(time.Duration(fetched) * time.Hour)
		fetched++
		return aws.Credentials{AccessKeyID: "AKIAX", SecretAccessKey: "s", CanExpire: true, Expires: ends}, nil
	})}
	for _, want := range []int{1, 2, 2} {
		if keys, err := c.keys(t.Context()); err != nil || keys.AccessKeyID != "AKIAX" || fetched != want {
			t.Errorf("%q, %v after %d fetches, not %d", keys.AccessKeyID, err, fetched, want)
		}
	}
}
