package credentials

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openimds/openimds"
)

// refusedBySDK are values that other clients take, or pass over, and the SDK refuses.
var refusedBySDK = []string{
	"AWS_RETRY_MODE=legacy", "AWS_MAX_ATTEMPTS=1.5", "AWS_DEFAULTS_MODE=bad", "AWS_USE_FIPS_ENDPOINT=1", "AWS_USE_DUALSTACK_ENDPOINT=1",
	"AWS_EC2_METADATA_V1_DISABLED=1", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE=x", "AWS_S3_USE_ARN_REGION=1",
	"AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS=1", "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH=1", "AWS_DISABLE_REQUEST_COMPRESSION=1",
	"AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES=-1", "AWS_DISABLE_CLOCK_SKEW_CORRECTION=1", "AWS_ENABLE_ENDPOINT_DISCOVERY=1",
	"AWS_REQUEST_CHECKSUM_CALCULATION=x", "AWS_RESPONSE_CHECKSUM_VALIDATION=x", "AWS_ACCOUNT_ID_ENDPOINT_MODE=bad",
	"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=1", "AWS_RESTRICT_FILE_PERMISSIONS=x", "AWS_CA_BUNDLE=/no/such/file", "AWS_CA_BUNDLE=/",
	"AWS_CA_BUNDLE=" + os.DevNull,
}

// Keys in a given file are found whatever the environment holds. A profile's are, unless what cannot be used is of the
// way to them: then the message has the variable, what it must be, and not what it is. Afterwards all is as it was.
func TestSettingsOfOthers(t *testing.T) {
	for _, setting := range refusedBySDK {
		t.Run(setting, func(t *testing.T) {
			dir := noAWS(t)
			keys := filepath.Join(dir, "keys")
			writeFile(t, keys, "[default]\naws_access_key_id = AKIAX\naws_secret_access_key = s\n")
			writeFile(t, filepath.Join(dir, "config"), "[profile prod]\naws_access_key_id = AKIAX\naws_secret_access_key = s\n")
			name, value, _ := strings.Cut(setting, "=")
			t.Setenv(name, value)
			for spec, named := range map[string]bool{"static:" + keys: false, "profile:prod": related[name] != "" || name == "AWS_CA_BUNDLE"} {
				source, err := ParseSource(spec)
				if err != nil {
					t.Fatal(err)
				}
				found, err := source.fetch(t.Context(), withRole("web-1", "app"), openimds.RoleForV2)
				switch {
				case !named && (err != nil || found.AccessKeyID != "AKIAX"):
					t.Errorf("%s: %s, %v", spec, found.AccessKeyID, err)
				case named && (err == nil || !strings.Contains(err.Error(), "variable "+name+" must ") || strings.Contains(err.Error(), value+" ")):
					t.Errorf("%s: %v", spec, err)
				}
			}
			if now := os.Getenv(name); now != value {
				t.Errorf("afterwards %s is %q", name, now)
			}
		})
	}
}

// A program that is asked for credentials has what the SDK refuses: it is another client's.
func TestProgramsHaveTheEnvironment(t *testing.T) {
	needShell(t)
	dir := noAWS(t)
	t.Setenv("AWS_RETRY_MODE", "legacy")
	writeFile(t, filepath.Join(dir, "config"), `[profile p]
credential_process = printf '{"Version":1,"AccessKeyId":"%s","SecretAccessKey":"s"}' "$AWS_RETRY_MODE"
`)
	cfg, err := Find(t.Context(), Search{Profile: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if keys, err := cfg.Credentials.Retrieve(t.Context()); err != nil || keys.AccessKeyID != "legacy" {
		t.Errorf("%s, %v", keys.AccessKeyID, err)
	}
}

// A setting of AWS's files that the SDK refuses is named, with what it takes.
func TestSettingsOfFiles(t *testing.T) {
	for setting, want := range map[string]string{
		"retry_mode = legacy": "retry_mode must be standard or adaptive", "max_attempts = 1.5": "max_attempts must be a number",
		"defaults_mode = bad": "defaults_mode must be", "ca_bundle = /no/such/file": "ca_bundle must name a file with certificates in PEM",
		"ca_bundle = /": "ca_bundle must name a file with certificates in PEM", "disable_request_compression = 1": "disable_request_compression must be true or false",
		"ec2_metadata_service_endpoint_mode = x": "ec2_metadata_service_endpoint_mode must be IPv4 or IPv6",
	} {
		dir := noAWS(t)
		writeFile(t, filepath.Join(dir, "config"), "[profile prod]\naws_access_key_id = AKIAX\naws_secret_access_key = s\n"+setting+"\n")
		if _, err := Find(t.Context(), Search{Profile: "prod"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", setting, err)
		}
	}
}
