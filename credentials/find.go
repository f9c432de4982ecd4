package credentials

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Search says where AWS's configuration is looked for.
type Search struct {
	// Profile; empty: the environment's keys, else the profile that it names, else default.
	Profile string
	// ConfigFiles and CredentialsFiles; nil: those of the environment, else those in ~/.aws.
	ConfigFiles, CredentialsFiles []string
	// Region beats the configuration's; DefaultRegion is for a configuration without one.
	Region, DefaultRegion string
}

// Find reads AWS's configuration as AWS's own tools do. Its Credentials fetch with each Retrieve. No
// error repeats what a file, a program or a service has said.
//
// The metadata service is what this program is: it is not asked.
func Find(ctx context.Context, s Search) (aws.Config, error) {
	cfg, err := s.find(ctx)
	if err != nil {
		return aws.Config{}, ownWords(err)
	}
	inner := cfg.Credentials
	cfg.Credentials = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		if inner == nil {
			return aws.Credentials{}, errNone
		}
		keys, err := inner.Retrieve(ctx)
		if err != nil {
			return aws.Credentials{}, ownWords(err)
		}
		return keys, nil
	})
	return cfg, nil
}

const errNone = said("the AWS configuration holds no credentials")

// maxConfiguration is the most bytes of a file of AWS's configuration.
const maxConfiguration = 1 << 20

func (s Search) find(ctx context.Context) (aws.Config, error) {
	if cfg, ok := s.inFiles(ctx); ok {
		return cfg, nil
	}
	return inEnvironment(func(known config.EnvConfig) (aws.Config, error) { return s.load(ctx, &known) })
}

// load reads the configuration.
func (s Search) load(ctx context.Context, environment *config.EnvConfig) (aws.Config, error) {
	s.complete(environment)
	if err := s.readable(); err != nil {
		return aws.Config{}, err
	}
	if ca := environment.CustomCABundle; ca != "" {
		if _, err := os.Stat(ca); err != nil || readable(ca) != nil {
			return aws.Config{}, wrongCA(environment)
		}
	}
	options := []func(*config.LoadOptions) error{
		config.WithEC2IMDSClientEnableState(imds.ClientDisabled),
		config.WithLogger(logging.Nop{}), // it would write to standard error
		config.WithSharedConfigFiles(s.ConfigFiles),
		config.WithSharedCredentialsFiles(s.CredentialsFiles),
		config.WithRegion(s.Region),
		config.WithDefaultRegion(s.DefaultRegion),
		config.WithHTTPClient(httpClient()),
		config.WithAPIOptions([]func(*middleware.Stack) error{boundAnswers}),
		// Programs are run by process alone: the SDK's way has no bound, and shows what they complain of.
		config.WithProcessCredentialOptions(func(o *processcreds.Options) { o.Timeout = 0 }),
	}
	if s.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(s.Profile))
	}
	chain, err := s.programs(ctx, environment)
	if err != nil {
		return aws.Config{}, err
	}
	var program aws.CredentialsProvider
	if len(chain) > 0 {
		program = aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			return process(ctx, chain[0].CredentialProcess)
		})
		options = append(options, config.WithCredentialsProvider(program))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil && isOfCA(err) {
		return aws.Config{}, wrongCA(environment)
	}
	if err != nil || program == nil {
		return cfg, err
	}
	cfg.Credentials = program // not the SDK's cache around it, which keeps a context's end from it
	return assumeProfiles(cfg, chain)
}

// httpClient asks services. The SDK's cache of credentials lets go of the context: without a bound of its own, a
// question to a service that is silent would never end.
func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTimeout(fetchTime).WithTransportOptions(func(t *http.Transport) {
		t.MaxResponseHeaderBytes, t.DisableKeepAlives = maxHeader, true
	})
}

// isOfCA says whether an error of loading the configuration is of the file with CAs: only of that file is one told
// that cannot be opened.
func isOfCA(err error) bool {
	_, unread := errors.AsType[config.SharedConfigLoadError](err)
	_, file := errors.AsType[*fs.PathError](err)
	return file && !unread || strings.Contains(err.Error(), "custom CA bundle PEM file")
}

func wrongCA(environment *config.EnvConfig) error {
	name := "the profile's ca_bundle"
	if environment.CustomCABundle != "" {
		name = "the environment variable AWS_CA_BUNDLE"
	}
	return sayf("%s must name a file with certificates in PEM, or not be set", name)
}

// complete names the files that are read.
func (s *Search) complete(environment *config.EnvConfig) {
	if s.ConfigFiles == nil {
		s.ConfigFiles = config.DefaultSharedConfigFiles
		if file := environment.SharedConfigFile; file != "" {
			s.ConfigFiles = []string{file}
		}
	}
	if s.CredentialsFiles == nil {
		s.CredentialsFiles = config.DefaultSharedCredentialsFiles
		if file := environment.SharedCredentialsFile; file != "" {
			s.CredentialsFiles = []string{file}
		}
	}
}

// readable refuses files whose reading may never end.
func (s *Search) readable() error {
	for _, file := range slices.Concat(s.ConfigFiles, s.CredentialsFiles) {
		if err := readable(file); err != nil {
			return err
		}
	}
	return nil
}

// readable refuses a file whose reading may never end. One that is not there is none.
func readable(file string) error {
	info, err := os.Stat(file)
	if err != nil || file == os.DevNull {
		return nil //nolint:nilerr // the SDK decides what a missing file means
	}
	if !info.Mode().IsRegular() || info.Size() > maxConfiguration {
		return sayf("a file of the AWS configuration is no plain file of at most %d bytes", maxConfiguration)
	}
	return nil
}

// programs returns the profile whose credentials come from a program, followed by those that assume a
// role with them, one after the other; nothing if no program is to be run. The order is the SDK's.
func (s Search) programs(ctx context.Context, environment *config.EnvConfig) ([]*config.SharedConfig, error) {
	name := s.Profile
	if name == "" {
		if environment.Credentials.HasKeys() || environment.WebIdentityTokenFilePath != "" {
			return nil, nil
		}
		if name = environment.SharedConfigProfile; name == "" {
			name = config.DefaultSharedConfigProfile
		}
	}
	profile, err := s.shared(ctx, name)
	if _, none := errors.AsType[config.SharedConfigProfileNotExistError](err); none && s.Profile == "" && environment.SharedConfigProfile == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var chain []*config.SharedConfig
	for p := &profile; p != nil; p = p.Source {
		chain = append([]*config.SharedConfig{p}, chain...)
	}
	if first := chain[0]; first.CredentialProcess == "" || hasOtherKeys(first) {
		return nil, nil
	}
	return chain, nil
}

// shared is a profile of the files.
func (s Search) shared(ctx context.Context, name string) (config.SharedConfig, error) {
	return config.LoadSharedConfigProfile(ctx, name, func(o *config.LoadSharedConfigOptions) {
		o.ConfigFiles, o.CredentialsFiles, o.Logger = s.ConfigFiles, s.CredentialsFiles, logging.Nop{}
	})
}

// hasOtherKeys says whether a profile has credentials that come before those of a program.
func hasOtherKeys(p *config.SharedConfig) bool {
	return p.Credentials.HasKeys() || p.CredentialSource != "" || p.WebIdentityTokenFile != "" || p.LoginSession != "" ||
		p.SSOSessionName != "" || p.SSORegion != "" || p.SSOAccountID != "" || p.SSOStartURL != "" || p.SSORoleName != ""
}

// assumeProfiles assumes the roles of the profiles, each with the credentials of the one before.
func assumeProfiles(cfg aws.Config, chain []*config.SharedConfig) (aws.Config, error) {
	for _, profile := range chain {
		if profile.RoleARN == "" {
			continue
		}
		if profile.MFASerial != "" {
			return aws.Config{}, said(noMFA)
		}
		cfg.Credentials = stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), profile.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = profile.RoleSessionName
			if d := profile.RoleDurationSeconds; d != nil {
				o.Duration = *d
			}
			if profile.ExternalID != "" {
				o.ExternalID = &profile.ExternalID
			}
		})
	}
	return cfg, nil
}

// The most bytes that a service may answer.
const (
	maxHeader = 64 << 10
	maxAnswer = 1 << 20
)

var errTooLong = errors.New("the answer is too long")

// boundAnswers keeps the clients of services from reading answers without an end.
func boundAnswers(stack *middleware.Stack) error {
	bound := middleware.DeserializeMiddlewareFunc("BoundAnswers", func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
		out, metadata, err := next.HandleDeserialize(ctx, in)
		if answer, ok := out.RawResponse.(*smithyhttp.Response); ok && answer.Body != nil {
			answer.Body = &boundedBody{ReadCloser: answer.Body, left: maxAnswer}
		}
		return out, metadata, err
	})
	return stack.Deserialize.Add(bound, middleware.After)
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
