package imdstest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/openimds/openimds/imdstest"
)

// TestEC2: a change by EC2's API is obeyed by the guest's next request, and another key is refused.
func TestEC2(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{ID: "i-0123456789abcdef0", Region: "eu-west-3"})
	at := srv.EC2()
	if again := srv.EC2(); again != at || at.Region != "eu-west-3" {
		t.Errorf("%+v, then %+v", at, again)
	}
	call := func(secret, parameters string) (int, string) {
		t.Helper()
		body := parameters + "&Version=2016-11-15"
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, at.URL+"/", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		sum := sha256.Sum256([]byte(body))
		keys := aws.Credentials{AccessKeyID: at.AccessKeyID, SecretAccessKey: secret}
		if err := v4.NewSigner().SignHTTP(r.Context(), keys, r, hex.EncodeToString(sum[:]), "ec2", at.Region, time.Now()); err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(answer)
	}
	guest := func() int {
		t.Helper()
		response, err := http.Get(srv.URL + "/latest/meta-data/instance-id")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	if got := guest(); got != http.StatusOK {
		t.Fatalf("before: %d", got)
	}
	if status, answer := call(at.SecretAccessKey, "Action=ModifyInstanceMetadataOptions&HttpTokens=required&InstanceId=i-0123456789abcdef0"); status != http.StatusOK {
		t.Fatal(status, answer)
	}
	applied := regexp.MustCompile(`<metadataOptions><state>applied</state><httpTokens>required`)
	for {
		if _, answer := call(at.SecretAccessKey, "Action=DescribeInstances"); applied.MatchString(answer) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if got := guest(); got != http.StatusUnauthorized {
		t.Errorf("after: %d", got)
	}
	if status, answer := call("another", "Action=DescribeInstances"); status != http.StatusUnauthorized || !strings.Contains(answer, "AuthFailure") {
		t.Errorf("another key: %d %s", status, answer)
	}
}
