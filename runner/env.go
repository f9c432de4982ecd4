package runner

import (
	"net/url"
	"os"
	"slices"
	"strings"
)

// harmlessAWS are the AWS_… variables that a command with a role of its own keeps: settings of AWS's
// clients that neither are credentials nor lead to any. A list of those to be hidden would miss the
// next one that a client learns to read.
var harmlessAWS = []string{
	"AWS_CA_BUNDLE", "AWS_CLI_AUTO_PROMPT", "AWS_CLI_FILE_ENCODING", "AWS_DEFAULTS_MODE", "AWS_DEFAULT_OUTPUT", "AWS_DEFAULT_REGION",
	"AWS_DISABLE_REQUEST_COMPRESSION", "AWS_EC2_METADATA_V1_DISABLED", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "AWS_MAX_ATTEMPTS",
	"AWS_METADATA_SERVICE_NUM_ATTEMPTS", "AWS_METADATA_SERVICE_TIMEOUT", "AWS_PAGER", "AWS_REGION", "AWS_RETRY_MODE",
	"AWS_SDK_LOAD_CONFIG", "AWS_SDK_UA_APP_ID", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_USE_DUALSTACK_ENDPOINT", "AWS_USE_FIPS_ENDPOINT",
}

// OtherCredentials are the variables by which AWS's clients of all languages are known to find other credentials than
// those of the instance's role. A command with a role has none of them, as it has nothing but harmlessAWS; a shell can
// be rid only of variables that have names.
var OtherCredentials = []string{
	"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
	"AWS_CREDENTIAL_EXPIRATION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CREDENTIAL_PROFILES_FILE",
	"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
	"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_BEARER_TOKEN_BEDROCK",
}

// elsewhere are the variables that point a client at another metadata service, or at none.
var elsewhere = []string{"AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_EC2_METADATA_DISABLED"}

// awsFiles are the variables that name files with credentials, for the clients of various languages.
var awsFiles = []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_CREDENTIAL_PROFILES_FILE"}

// Environment says what a command has of this process's environment.
type Environment struct {
	// HasRole says that its instance has a role, whose credentials it must find.
	HasRole bool
	// Pass are AWS_… variables that it has nevertheless; KeepAll leaves everything as it is.
	Pass    []string
	KeepAll bool
}

// Of is the command's environment: without a proxy before the metadata service, without what points AWS's
// clients elsewhere, and without any other credentials if its instance has a role.
func (e Environment) Of(outside []string) []string {
	outside = pastProxies(outside)
	if e.KeepAll {
		return outside
	}
	inside := slices.DeleteFunc(slices.Clone(outside), func(entry string) bool {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case slices.Contains(elsewhere, name):
			return !e.HasRole || !slices.Contains(e.Pass, name)
		case !e.HasRole || !strings.HasPrefix(name, "AWS_") || slices.Contains(e.Pass, name) || slices.Contains(harmlessAWS, name):
			return false
		}
		return !isEndpoint(name, value)
	})
	if !e.HasRole {
		return inside
	}
	for _, name := range awsFiles {
		if !slices.Contains(e.Pass, name) {
			inside = append(inside, name+"="+os.DevNull)
		}
	}
	return inside
}

// isEndpoint says whether a variable names the address of a service, and nothing secret: a command that
// is tested against a stand-in must not call AWS itself.
func isEndpoint(name, value string) bool {
	if name != "AWS_ENDPOINT_URL" && !strings.HasPrefix(name, "AWS_ENDPOINT_URL_") {
		return false
	}
	u, err := url.Parse(value)
	return err == nil && u.User == nil && u.RawQuery == "" && u.Host != ""
}
