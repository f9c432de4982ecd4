package clients

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/openimds/openimds"
)

// Some clients put a slash between the endpoint and a path, others expect it in the endpoint, which
// "openimds env" therefore has. With both, and with none but the path's, a session begins where tokens
// are required, and nobody falls back to version 1.
func TestEndpointAndItsSlash(t *testing.T) {
	for name, client := range map[string]func(t *testing.T, s *server, role credentials){
		"JavaScript v2": func(t *testing.T, s *server, role credentials) {
			s.expectSet(t, s.javaScript(t, "metadata_v2.js", "aws-sdk"), role)
		},
		"JavaScript v3": func(t *testing.T, s *server, role credentials) {
			const module = "@smithy/credential-provider-imds"
			s.expectSet(t, s.javaScript(t, "find_credentials.js", module, module), role)
		},
		"boto3": func(t *testing.T, s *server, role credentials) {
			var got struct{ Found credentials }
			s.script(t, python(t, "boto3"), "find_credentials.py", &got)
			s.expectSet(t, got.Found, role)
		},
		"AWS CLI": func(t *testing.T, s *server, _ credentials) {
			need(t, "aws")
			if listed := s.run(t, "aws", "configure", "list"); strings.Count(listed, "iam-role") != 2 {
				t.Errorf("the keys are not the role's:\n%s", listed)
			}
		},
		"curl": func(t *testing.T, s *server, _ credentials) {
			need(t, "curl")
			const script = `T=$(curl -sSfX PUT "$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 60') &&
				curl -sSfH "X-aws-ec2-metadata-token: $T" "$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest/meta-data/instance-id"`
			if got := s.run(t, "sh", "-c", script); got != s.Instance.ID {
				t.Errorf("got %q", got)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, required)
			s.V1Allowed = true // a client that would fall back shall do it, and be seen
			printed := s.endpointOfEnv(t)
			if !strings.HasSuffix(printed, s.IMDS+"/") {
				t.Fatalf("openimds env prints the endpoint %q", printed)
			}
			for _, endpoint := range []string{printed, strings.TrimSuffix(printed, "/")} {
				s.Endpoint = endpoint
				client(t, s, s.roleSet(t, s.token(t)))
			}
			if calls := s.callsWithoutToken(t); calls != 0 {
				t.Errorf("%d calls came without a token", calls)
			}
		})
	}
}

// endpointOfEnv is the metadata service's endpoint as "openimds env" prints it.
func (s *server) endpointOfEnv(t *testing.T) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", `eval "$(openimds env --data-dir "$1" --imds-listen "$2" --api-listen "$3")" && echo "$AWS_EC2_METADATA_SERVICE_ENDPOINT"`,
		"sh", s.DataDir, s.IMDS, s.API)
	cmd.Env = without(os.Environ(), "AWS_", "OPENIMDS_")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("openimds env: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// callsWithoutToken is how many calls of the instance's guest had no token, refused ones included.
func (s *server) callsWithoutToken(t *testing.T) int {
	t.Helper()
	var callers []struct{ Counts map[string]int }
	if err := json.Unmarshal([]byte(s.command(t, "callers", s.Instance.Name, "-o", "json")), &callers); err != nil {
		t.Fatal(err)
	}
	if len(callers) == 0 {
		t.Fatal("nobody called")
	}
	n := 0
	for _, c := range callers {
		n += c.Counts[openimds.MetricNoToken] + c.Counts[openimds.MetricNoTokenRejected]
	}
	return n
}
