package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// TestAssumedRole has the program fetch a role's credentials from a stand-in for STS, and reads them
// as the guest.
func TestAssumedRole(t *testing.T) {
	type asked struct {
		form          url.Values
		authorization string
	}
	requests := make(chan asked, 64)
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		requests <- asked{r.Form, r.Header.Get("Authorization")}
		w.Header().Set("Content-Type", "text/xml")
		_, _ = fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
			<AccessKeyId>ASIA%d</AccessKeyId><SecretAccessKey>secret-of-the-session</SecretAccessKey><SessionToken>token-of-the-session</SessionToken>
			<Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`, len(requests), time.Now().Add(2*time.Hour).UTC().Format(time.RFC3339))
	}))
	defer sts.Close()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = base\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"AWS_SHARED_CREDENTIALS_FILE": keys, "AWS_CONFIG_FILE": os.DevNull, "AWS_ACCESS_KEY_ID": "", "AWS_PROFILE": ""} {
		t.Setenv(name, value) // of the program
	}
	const arn = "arn:aws:iam::123456789012:role/app"
	s := serve(t, func(in *openimds.Instance) { in.Role = &openimds.Role{Name: "app"} },
		"--imds-listen-shared", "--role-credentials", "app=assume-role:"+arn+"?profile=base&external-id=partner&session-tags=true&duration=2h&endpoint="+url.QueryEscape(sts.URL))
	var set struct{ Code, AccessKeyID, SecretAccessKey, Token string }
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		status, body := s.get(t, s.rolePath(), s.token(t))
		if err := json.Unmarshal([]byte(body), &set); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s", status, body)
		}
		if set.Code == openimds.CredentialsSuccess {
			break
		}
		if set.Code != openimds.CredentialsUnauthorized || time.Now().After(deadline) {
			t.Fatalf("the guest reads %s", body)
		}
	}
	if !strings.HasPrefix(set.AccessKeyID, "ASIA") || set.SecretAccessKey != "secret-of-the-session" || set.Token != "token-of-the-session" {
		t.Errorf("the guest has %+v", set)
	}
	for range 2 { // a session for requests without a token, and one for those with
		got := <-requests
		for member, want := range map[string]string{
			"Action": "AssumeRole", "RoleArn": arn, "RoleSessionName": s.Instance.ID, "ExternalId": "partner", "DurationSeconds": "7200",
			"Tags.member.1.Key": "instance-id", "Tags.member.1.Value": s.Instance.ID,
			"Tags.member.2.Key": "instance-name", "Tags.member.2.Value": "demo",
		} {
			if got.form.Get(member) != want {
				t.Errorf("%s = %q, want %q", member, got.form.Get(member), want)
			}
		}
		if !strings.Contains(got.authorization, "Credential=AKIABASE/") {
			t.Errorf("signed by %q", got.authorization)
		}
	}
}
