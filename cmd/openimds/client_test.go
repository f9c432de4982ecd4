package main

import (
	"context"
	"testing"

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
