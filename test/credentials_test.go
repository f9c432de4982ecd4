package clients

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/openimds/openimds"
)

// credentials is one set of role credentials, as the guest reads it or as a client prints it.
type credentials struct {
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	Token           string
	Expiration      time.Time
}

// rolePath is where the instance's role credentials are.
func (s *server) rolePath() string {
	return "/latest/meta-data/iam/security-credentials/" + s.Instance.Role.Name
}

// roleSet reads the instance's role credentials, by version 1 if token is empty.
func (s *server) roleSet(t testing.TB, token string) credentials {
	t.Helper()
	status, body := s.get(t, s.rolePath(), token)
	var set credentials
	if err := json.Unmarshal([]byte(body), &set); err != nil || status != http.StatusOK {
		t.Fatalf("the role's credentials: status %d, %v", status, err)
	}
	return set
}

// expectSet holds what a client got against what was to be had by a session. An hour's set may give
// way to the next one between two reads, so the set before the client ran will do as well as the one
// after. When they expire is not compared: clients make that earlier.
func (s *server) expectSet(t testing.TB, got, before credentials) {
	t.Helper()
	same := func(want credentials) bool {
		return got.AccessKeyID == want.AccessKeyID && got.SecretAccessKey == want.SecretAccessKey && got.Token == want.Token
	}
	if !same(before) && !same(s.roleSet(t, s.token(t))) {
		t.Error("the credentials are not those that the service gives to a session")
	}
	if !strings.HasPrefix(got.AccessKeyID, "ASIA") || got.SecretAccessKey == "" || got.Token == "" {
		t.Error("the credentials do not have the form of a role's")
	}
	if !got.Expiration.After(time.Now()) {
		t.Errorf("the client takes the credentials for expired, at %v", got.Expiration)
	}
}

func TestSDKRoleCredentials(t *testing.T) {
	s, w := serve(t, nil), &witness{}
	before := s.roleSet(t, s.token(t))
	provider := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = newSDK(s, w) })
	got, err := provider.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !got.CanExpire || got.Source != ec2rolecreds.ProviderName {
		t.Errorf("the provider does not take them for a role's: expire %v, source %q", got.CanExpire, got.Source)
	}
	s.expectSet(t, credentials{got.AccessKeyID, got.SecretAccessKey, got.SessionToken, got.Expires}, before)
	if v1 := s.roleSet(t, ""); got.AccessKeyID == v1.AccessKeyID {
		t.Error("a session's credentials are the same as those without a session")
	}
	if paths := w.withoutToken(); len(paths) > 0 {
		t.Errorf("read by version 1: %q", paths)
	}
}

func TestSDKNoRole(t *testing.T) {
	s := serve(t, func(in *openimds.Instance) { in.Role = nil })
	provider := ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = newSDK(s, &witness{}) })
	if _, err := provider.Retrieve(t.Context()); statusOf(err) != http.StatusNotFound {
		t.Errorf("an instance without a role: %v", err)
	}
}

// A program that configures nothing finds region and credentials by itself on an instance.
func TestSDKDefaultConfig(t *testing.T) {
	s := serve(t, required)
	for _, v := range s.env() {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, value)
		}
	}
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
	}
	before := s.roleSet(t, s.token(t))
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithEC2IMDSRegion())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Region != s.Instance.Region {
		t.Errorf("region %q", cfg.Region)
	}
	got, err := cfg.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.expectSet(t, credentials{got.AccessKeyID, got.SecretAccessKey, got.SessionToken, got.Expires}, before)
	out, err := imds.NewFromConfig(cfg).GetMetadata(t.Context(), &imds.GetMetadataInput{Path: "instance-id"})
	if err != nil {
		t.Fatal(err)
	}
	if id := text(t, out.Content); id != s.Instance.ID {
		t.Errorf("instance-id is %q", id)
	}
}
