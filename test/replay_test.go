package clients

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/openimds/openimds"
)

// What was recorded of an instance works for the SDK on another: the identity document as it was, and
// the role's credentials live, for the recorded ones are blanked.
func TestSDKOnReplayedInstance(t *testing.T) {
	original := serve(t, func(in *openimds.Instance) {
		required(in)
		in.Role.Name = "recorded"
	})
	file := filepath.Join(t.TempDir(), "tree.json")
	record := exec.Command("openimds", "record", "http://"+original.IMDS, "-o", file, "--rate", "1000")
	record.Env = without(record.Environ(), "OPENIMDS_", "AWS_")
	if out, err := record.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s, w := serve(t, required, "--replay", file), &witness{}
	s.Instance.Role.Name = "recorded"
	before := s.roleSet(t, s.token(t))
	sdk := newSDK(s, w)
	provider := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = sdk })
	got, err := provider.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.expectSet(t, credentials{got.AccessKeyID, got.SecretAccessKey, got.SessionToken, got.Expires}, before)
	if strings.Contains(got.AccessKeyID, "BLANKED") {
		t.Error("the credentials are the recorded ones")
	}
	document, err := sdk.GetInstanceIdentityDocument(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if document.InstanceID != original.Instance.ID {
		t.Errorf("the document is of %s, not of the recorded instance %s", document.InstanceID, original.Instance.ID)
	}
	if paths := w.withoutToken(); len(paths) > 0 {
		t.Errorf("read by version 1: %q", paths)
	}
}
