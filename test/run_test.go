package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	minio "github.com/minio/minio-go/v6/pkg/credentials"
)

// In this mode the test binary is a program that finds its credentials and region as any other with
// AWS's SDK for Go.
const sdkMode = "OPENIMDS_TEST_SDK"

func sdkProgram() int {
	if os.Getenv(sdkMode) == "minio" {
		return minioProgram()
	}
	cfg, err := config.LoadDefaultConfig(context.Background(), config.WithEC2IMDSRegion())
	if err == nil {
		keys, kerr := cfg.Credentials.Retrieve(context.Background())
		err = kerr
		fmt.Println(keys.AccessKeyID, keys.Source, cfg.Region)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// minioProgram is one with MinIO's client of before November 2020, which knows no tokens.
func minioProgram() int {
	keys, err := minio.NewIAM("").Get()
	if err == nil {
		_, err = fmt.Println(keys.AccessKeyID)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// runInside runs a command with "openimds run", tokens required, and no variable of AWS's; it fails the test
// if anything used IMDSv1.
func runInside(t *testing.T, env []string, command ...string) string {
	t.Helper()
	if out, err := exec.Command("unshare", "-Urn", "true").CombinedOutput(); err != nil {
		t.Skipf("this user may not make namespaces here: %v %s", err, out)
	}
	args := []string{"run", "--network", "none", "--http-tokens", "required", "--fail-on-v1", "--zone", "us-east-1c"}
	cmd := exec.Command("openimds", append(append(args, "--"), command...)...)
	cmd.Env = append(without(os.Environ(), "AWS_", "OPENIMDS_"), "HOME="+t.TempDir())
	cmd.Env = append(cmd.Env, env...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, problems.Bytes())
	}
	return strings.TrimSpace(out.String())
}

func TestRunAWSCLI(t *testing.T) {
	need(t, "aws")
	listed := runInside(t, nil, "aws", "configure", "list")
	if strings.Count(listed, "iam-role") != 2 {
		t.Errorf("the keys are not the role's:\n%s", listed)
	}
}

func TestRunBoto3(t *testing.T) {
	interpreter := python(t, "boto3")
	var got struct {
		Role, Method, Region string
		Fetched, Found       credentials
	}
	out := runInside(t, nil, interpreter, "-B", filepath.Join("testdata", "find_credentials.py"))
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Method != "iam-role" || got.Region != "us-east-1" || !strings.HasPrefix(got.Found.AccessKeyID, "ASIA") || got.Found.Token == "" {
		t.Errorf("%+v", got)
	}
}

func TestRunSDK(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	got := runInside(t, []string{sdkMode + "=1"}, self)
	var key, source, region string
	if _, err := fmt.Sscan(got, &key, &source, &region); err != nil || !strings.HasPrefix(key, "ASIA") || source != "EC2RoleProvider" || region != "us-east-1" {
		t.Errorf("%q", got)
	}
}

func TestRunCurl(t *testing.T) {
	need(t, "curl")
	const script = `T=$(curl -sX PUT http://169.254.169.254/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60') &&
		curl -sH "X-aws-ec2-metadata-token: $T" http://169.254.169.254/latest/meta-data/placement/availability-zone`
	if got := runInside(t, nil, "sh", "-c", script); got != "us-east-1c" {
		t.Errorf("%q", got)
	}
}
