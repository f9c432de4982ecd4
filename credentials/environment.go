package credentials

import (
	"cmp"
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// unrelated are variables of AWS's clients that have nothing to do with credentials. Other clients take values that
// this SDK does not know, as AWS_RETRY_MODE=legacy, and for one of those it refuses the whole environment.
var unrelated = []string{
	"AWS_ACCOUNT_ID_ENDPOINT_MODE", "AWS_DEFAULTS_MODE", "AWS_DISABLE_CLOCK_SKEW_CORRECTION", "AWS_DISABLE_REQUEST_COMPRESSION",
	"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "AWS_EC2_METADATA_V1_DISABLED", "AWS_ENABLE_ENDPOINT_DISCOVERY", "AWS_MAX_ATTEMPTS",
	"AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES", "AWS_RESPONSE_CHECKSUM_VALIDATION", "AWS_RETRY_MODE",
	"AWS_S3_DISABLE_EXPRESS_SESSION_AUTH", "AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS", "AWS_S3_USE_ARN_REGION",
}

// related say which service is asked for credentials, and how what it answers is kept, with the values that they may have.
var related = map[string]string{
	"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true or false", "AWS_RESTRICT_FILE_PERMISSIONS": "user_read_write or unrestricted",
	"AWS_USE_DUALSTACK_ENDPOINT": "true or false", "AWS_USE_FIPS_ENDPOINT": "true or false",
}

// environment is the process's, which the SDK reads itself. Who takes variables out of it for a while has it alone, so
// that no program is started without them.
var environment sync.RWMutex

// inEnvironment has AWS's configuration read in an environment that the SDK takes.
func inEnvironment(read func(config.EnvConfig) (aws.Config, error)) (aws.Config, error) {
	environment.RLock()
	if known, err := config.NewEnvConfig(); err == nil {
		defer environment.RUnlock()
		return read(known)
	}
	environment.RUnlock()
	environment.Lock()
	defer environment.Unlock()
	for _, name := range unrelated {
		if value, ok := os.LookupEnv(name); ok {
			_ = os.Unsetenv(name) // it fails for no name of these
			defer func() { _ = os.Setenv(name, value) }()
		}
	}
	known, err := config.NewEnvConfig()
	if err != nil {
		return aws.Config{}, wrongVariable(err)
	}
	return read(known)
}

// wrongVariable says which variable has to be put right, without its value.
func wrongVariable(err error) error {
	for _, name := range slices.Sorted(maps.Keys(related)) {
		if strings.Contains(err.Error(), name+"=") {
			return sayf("the environment variable %s must be %s, or not be set", name, related[name])
		}
	}
	return said("an AWS_… variable of the environment has a value that cannot be used")
}

// inFiles finds keys that stand in files which are given, as those of a server do. Nothing of the environment counts
// for them. False: it does.
func (s Search) inFiles(ctx context.Context) (aws.Config, bool) {
	if s.Profile == "" || s.ConfigFiles == nil || s.CredentialsFiles == nil || s.readable() != nil {
		return aws.Config{}, false
	}
	profile, err := s.shared(ctx, s.Profile)
	if err != nil || profile.Source != nil || profile.RoleARN != "" || !profile.Credentials.HasKeys() {
		return aws.Config{}, false
	}
	return aws.Config{
		Region: cmp.Or(s.Region, profile.Region, s.DefaultRegion), HTTPClient: httpClient(),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return profile.Credentials, nil }),
	}, true
}
