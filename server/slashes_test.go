package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// TestSlashes: an endpoint that ends in slashes is the same one, for each protocol, and whether a client signs what it
// sends or, as botocore does, one slash.
func TestSlashes(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(filepath.Join(t.TempDir(), "data")))
	root := strings.TrimRight(i.server.APIURL(), "/")
	const form, cbor = "application/x-www-form-urlencoded", "/service/GraniteServiceVersion20100801/operation/ListMetrics"
	for _, tt := range []struct {
		service, path, body string
		header              http.Header
	}{
		{"lightsail", "/", "{}", http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {targetLightsail + "GetInstances"}}},
		{"ec2", "/", "Action=DescribeInstances&Version=2016-11-15", http.Header{"Content-Type": {form}}},
		{"monitoring", "/", "Action=ListMetrics&Version=2010-08-01", http.Header{"Content-Type": {form}}},
		{"monitoring", cbor, "\xa0", http.Header{"Content-Type": {"application/cbor"}, "Smithy-Protocol": {"rpc-v2-cbor"}}},
	} {
		for _, slashes := range []string{"", "/", "//"} {
			for _, signed := range []string{tt.path, slashes + tt.path} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, root, bytes.NewReader([]byte(tt.body)))
				must(t, err)
				r.Header, r.URL.Path = tt.header.Clone(), signed
				hash := sha256.Sum256([]byte(tt.body))
				must(t, v4.NewSigner().SignHTTP(t.Context(), i.client.key, r, hex.EncodeToString(hash[:]), tt.service, i.client.region, time.Now()))
				r.URL = &url.URL{Scheme: r.URL.Scheme, Host: r.URL.Host, Path: slashes + tt.path}
				response, err := http.DefaultTransport.RoundTrip(r)
				must(t, err)
				answer, err := io.ReadAll(response.Body)
				must(t, err)
				must(t, response.Body.Close())
				if response.StatusCode != http.StatusOK {
					t.Errorf("%s at %s, signed for %s: %d %s", tt.service, r.URL.Path, signed, response.StatusCode, answer)
				}
			}
		}
	}
}

// TestSlashesBoto3: so it is with AWS's SDK for Python.
func TestSlashesBoto3(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil || exec.CommandContext(t.Context(), python, "-c", "import boto3").Run() != nil {
		t.Skip("boto3 is not installed")
	}
	i := openInstallation(t, forTest(filepath.Join(t.TempDir(), "data")))
	run := exec.CommandContext(t.Context(), python, "-c", `
import boto3, sys
for slashes in ["", "/", "//", "///"]:
    for service, call in [("lightsail", "get_instances"), ("ec2", "describe_instances"), ("cloudwatch", "list_metrics")]:
        getattr(boto3.client(service, endpoint_url=sys.argv[1] + slashes), call)()
print("done")
`, strings.TrimRight(i.server.APIURL(), "/"))
	run.Env = append(os.Environ(), "AWS_CONFIG_FILE=/dev/null", "AWS_PROFILE=default", "AWS_DEFAULT_REGION="+i.client.region,
		"AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(i.server.DataDir(), CredentialsFile))
	if out, err := run.CombinedOutput(); err != nil || string(out) != "done\n" {
		t.Errorf("%v: %s", err, out)
	}
}
