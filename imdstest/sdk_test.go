package imdstest_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/openimds/openimds/imdstest"
	"github.com/smallstep/pkcs7"
)

var keys = imdstest.Credentials{AccessKeyID: "ASIATESTTESTTESTTEST", SecretAccessKey: "secret", SessionToken: "token"}

// TestSDKFindsTheRole: the SDK's usual way to credentials leads to the instance, whatever the
// developer has at home.
func TestSDKFindsTheRole(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIADEVELOPER")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "of the developer")
	in := imdstest.Instance{Region: "eu-west-3", RoleName: "app", Credentials: keys}
	in.Credentials.Expires = time.Now().Add(30 * time.Minute).Truncate(time.Second)
	srv := imdstest.New(t, in)
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithEC2IMDSRegion())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Region != "eu-west-3" {
		t.Errorf("the region is %q", cfg.Region)
	}
	got, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.AccessKeyID != keys.AccessKeyID || got.SecretAccessKey != keys.SecretAccessKey || got.SessionToken != keys.SessionToken ||
		!got.Expires.Equal(in.Credentials.Expires) || got.Source != ec2rolecreds.ProviderName {
		t.Errorf("the credentials are %+v", got)
	}
	srv.RequireNoV1(t)
}

// TestSDKRotation: new credentials are what the next retrieval gives, and a failure is one.
func TestSDKRotation(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{RoleName: "app", Options: imdstest.Options{Tokens: "required"}})
	provider := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = imds.New(imds.Options{Endpoint: srv.URL}) })
	generated, err := provider.Retrieve(t.Context())
	if err != nil || !strings.HasPrefix(generated.AccessKeyID, "ASIA") {
		t.Fatalf("generated credentials: %+v, %v", generated, err)
	}
	srv.SetCredentials(keys)
	if got, err := provider.Retrieve(t.Context()); err != nil || got.AccessKeyID != keys.AccessKeyID || got.Expires.Before(time.Now().Add(50*time.Minute)) {
		t.Errorf("set credentials: %+v, %v", got, err)
	}
	srv.SetCredentials(imdstest.Credentials{Code: "AssumeRoleUnauthorizedAccess", Message: "not you"})
	if _, err := provider.Retrieve(t.Context()); err == nil || !strings.Contains(err.Error(), "not you") {
		t.Errorf("the failure is %v", err)
	}
	srv.SetCredentials(imdstest.Credentials{})
	if got, err := provider.Retrieve(t.Context()); err != nil || got.AccessKeyID != generated.AccessKeyID {
		t.Errorf("generated again: %+v, %v", got, err)
	}
}

// TestSDKSeenExactly: what the SDK's client sends, no more and no less.
func TestSDKSeenExactly(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{UserData: "data"})
	client := imds.New(imds.Options{Endpoint: srv.URL, EnableFallback: aws.FalseTernary})
	for range 2 { // the second time it has its token
		out, err := client.GetUserData(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(out.Content)
		out.Content.Close()
		if err != nil || string(body) != "data" {
			t.Fatalf("the user data is %q (%v)", body, err)
		}
	}
	want := []imdstest.Request{
		{Method: "PUT", Path: "/latest/api/token", Version: imdstest.V2, Status: 200},
		{Method: "GET", Path: "/latest/user-data", Version: imdstest.V2, Status: 200},
		{Method: "GET", Path: "/latest/user-data", Version: imdstest.V2, Status: 200},
	}
	got := srv.Requests()
	if len(got) != len(want) {
		t.Fatalf("the requests are %v", got)
	}
	for i := range got {
		if !strings.Contains(got[i].UserAgent, "aws-sdk-go-v2") {
			t.Errorf("the user agent is %q", got[i].UserAgent)
		}
		got[i].Time, got[i].UserAgent = time.Time{}, ""
		if got[i] != want[i] {
			t.Errorf("request %d is %s, not %s", i, got[i], want[i])
		}
	}
}

// TestSignatures: the identity document verifies with the server's own certificate.
func TestSignatures(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{})
	_, document := get(t, srv, "dynamic/instance-identity/document")
	_, text := get(t, srv, "dynamic/instance-identity/rsa2048")
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(text, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	message, err := pkcs7.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(srv.CertificatePEM("rsa2048"))
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	message.Certificates = []*x509.Certificate{certificate}
	if err := message.Verify(); err != nil || string(message.Content) != document {
		t.Errorf("the signature: %v, over %q", err, message.Content)
	}
	for _, form := range []string{"signature", "pkcs7"} {
		if status, _ := get(t, srv, "dynamic/instance-identity/"+form); status != 200 {
			t.Errorf("%s has the status %d", form, status)
		}
		if block, _ := pem.Decode(srv.CertificatePEM(form)); block == nil {
			t.Errorf("%s has no certificate", form)
		}
	}
}
