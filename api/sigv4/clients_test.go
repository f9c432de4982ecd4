package sigv4_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/sigv4"
)

// startServer answers every signed request with an empty JSON object, and others with the refusal.
func startServer(t *testing.T, file *accesskeys.File) string {
	v := sigv4.New(sigv4.Config{Regions: []string{"us-east-1"}, Keys: file.Lookup})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if _, err := v.Verify(r, "lightsail", body); err != nil {
			code, message, _ := strings.Cut(err.Error(), ": ")
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"__type":%q,"message":%q}`, code, message)
			return
		}
		io.WriteString(w, "{}")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// run gives the output of a client that has nothing of this machine's AWS configuration. Without
// the client the test is skipped.
func run(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute) // such tools take minutes where much else runs
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = slices.DeleteFunc(cmd.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") })
	cmd.Env = append(cmd.Env, "AWS_CONFIG_FILE="+os.DevNull, "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true", "NO_PROXY=*", "no_proxy=*")
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestCurl(t *testing.T) {
	file, err := accesskeys.Ensure(filepath.Join(t.TempDir(), "credentials"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := file.Create("curl", false)
	if err != nil {
		t.Fatal(err)
	}
	url := startServer(t, file)
	if help, err := run(t, nil, "curl", "--help", "all"); err != nil || !strings.Contains(help, "--aws-sigv4") {
		t.Skip("this curl does not sign")
	}
	args := []string{
		"--silent", "--show-error", "--aws-sigv4", "aws:amz:us-east-1:lightsail",
		"-H", "Content-Type: application/x-amz-json-1.1",
		"-H", "X-Amz-Target: Lightsail_20161128.GetInstances",
		"-d", `{"a": "b"}`, url,
	}
	out, err := run(t, nil, "curl", append(args, "--user", key.ID+":"+key.Secret)...)
	if err != nil || out != "{}" {
		t.Errorf("curl: %v\n%s", err, out)
	}
	out, err = run(t, nil, "curl", append(args, "--user", key.ID+":wrong")...)
	if err != nil || !strings.Contains(out, "InvalidSignatureException") {
		t.Errorf("curl with a wrong secret: %v\n%s", err, out)
	}
}

// TestPythonClients has boto3 and the AWS CLI find their key in the very file that the server keeps.
func TestPythonClients(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	file, err := accesskeys.Ensure(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Create("watcher", true); err != nil {
		t.Fatal(err)
	}
	env := []string{"AWS_SHARED_CREDENTIALS_FILE=" + path, "AWS_ENDPOINT_URL_LIGHTSAIL=" + startServer(t, file)}
	t.Run("boto3", func(t *testing.T) {
		if out, err := run(t, nil, "python3", "-c", "import boto3"); err != nil {
			t.Skipf("boto3 is not installed: %s", out)
		}
		const script = `
import boto3, sys
client = boto3.Session(profile_name=sys.argv[1]).client("lightsail")
client.get_instances()
client.create_instances(instanceNames=["a", "ü"], availabilityZone="us-east-1a", blueprintId="b", bundleId="c", userData="x  y\n")
print("done")
`
		for _, profile := range []string{"default", "watcher"} {
			out, err := run(t, env, "python3", "-c", script, profile)
			if err != nil || !strings.HasSuffix(out, "done\n") {
				t.Errorf("boto3 as %s: %v\n%s", profile, err, out)
			}
		}
	})
	t.Run("aws", func(t *testing.T) {
		out, err := run(t, env, "aws", "lightsail", "get-instances", "--output", "json")
		if err != nil {
			t.Errorf("aws: %v\n%s", err, out)
		}
		out, err = run(t, env, "aws", "lightsail", "get-instances", "--region", "eu-west-1")
		if err == nil || !strings.Contains(out, "Credential should be scoped to a valid region, not 'eu-west-1'.") {
			t.Errorf("aws in another region: %v\n%s", err, out)
		}
	})
}

// TestRevocation revokes a key while it is in use: a request that begins afterwards must fail,
// though the signing key was in the cache.
func TestRevocation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials")
	file, err := accesskeys.Ensure(path)
	if err != nil {
		t.Fatal(err)
	}
	v := sigv4.New(sigv4.Config{
		Regions: []string{"us-east-1"}, Keys: file.Lookup,
		Now: func() time.Time { return noon },
	})
	for round := range 20 {
		key, err := file.Create("short-lived", round%2 == 0)
		if err != nil {
			t.Fatal(err)
		}
		c := newCall()
		c.credential = strings.Replace(c.credential, keyID, key.ID, 1)
		c.secret = key.Secret
		raw := c.raw()
		if identity, err := verify(t, v, raw); err != nil || identity.ReadOnly != key.ReadOnly {
			t.Fatalf("the new key: %+v, %v", identity, err)
		}
		revoked, failed := make(chan struct{}), make(chan error)
		for range 4 {
			go func() {
				for {
					late := false
					select {
					case <-revoked:
						late = true
					default:
					}
					r, body, err := receive(raw)
					if err == nil {
						_, err = v.Verify(r, "lightsail", body)
					}
					if late {
						failed <- err
						return
					}
				}
			}()
		}
		// Another process revokes it.
		if _, err := accesskeys.Open(path).Revoke("short-lived", false); err != nil {
			t.Fatal(err)
		}
		close(revoked)
		for range 4 {
			if err := <-failed; err == nil || err.Error() != unrecognized {
				t.Fatalf("round %d: after the revocation: %v", round, err)
			}
		}
	}
}
