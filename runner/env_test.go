package runner

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// A command with a role has no other credentials, whatever their variables are called.
func TestRunHidesAWS(t *testing.T) {
	hidden := append([]string{
		"AWS_BEARER_TOKEN_OF_NEXT_YEAR", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_VAULT", "AWS_LOGIN_CACHE_DIRECTORY", "AWS_",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_EC2_METADATA_DISABLED",
		"AWS_ENDPOINT_URL_LIGHTSAIL", "AWS_EXECUTION_ENV",
	}, OtherCredentials...)
	kept := []string{
		"AWS_REGION=x", "AWS_DEFAULT_REGION=x", "AWS_PAGER=", "AWS_CA_BUNDLE=/x", "AWS_EC2_METADATA_V1_DISABLED=true",
		"AWS_ENDPOINT_URL=http://localhost:4566", "AWS_ENDPOINT_URL_S3=http://localhost:9000", "PATH=/bin", "aws_x=1", "MYAWS_X=1", "XAWS_=1",
	}
	outside := slices.Clone(kept)
	for _, name := range hidden {
		outside = append(outside, name+"=canary", name+"=http://user:canary@host/", name)
	}
	for _, c := range []Environment{{HasRole: true}} {
		inside := c.Of(outside)
		for _, entry := range inside {
			name, value, _ := strings.Cut(entry, "=")
			if !slices.Contains(kept, entry) && (!slices.Contains(awsFiles, name) || value != os.DevNull) {
				t.Errorf("the command has %s", entry)
			}
		}
		if want := len(kept) + len(awsFiles); len(inside) != want {
			t.Errorf("%d variables, not %d: %v", len(inside), want, inside)
		}
	}
	asked := Environment{HasRole: true, Pass: []string{"AWS_VAULT", "AWS_CONFIG_FILE"}}
	if inside := asked.Of([]string{"AWS_VAULT=v", "AWS_CONFIG_FILE=f", "AWS_SESSION_TOKEN=canary"}); !slices.Equal(inside,
		[]string{"AWS_VAULT=v", "AWS_CONFIG_FILE=f", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_CREDENTIAL_PROFILES_FILE=/dev/null"}) {
		t.Errorf("asked for two: %v", inside)
	}
	if inside := (Environment{HasRole: true, KeepAll: true}).Of(outside); !slices.Equal(inside, outside) {
		t.Error("--keep-aws-env does not keep all")
	}
	if inside := (Environment{}).Of([]string{"AWS_PROFILE=p", "AWS_EC2_METADATA_DISABLED=true"}); !slices.Equal(inside, []string{"AWS_PROFILE=p"}) {
		t.Errorf("without a role: %v", inside)
	}
}
