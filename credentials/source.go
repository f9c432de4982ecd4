package credentials

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/openimds/openimds"
)

// Source fetches credentials from where real ones come from.
type Source struct {
	name string // without what may be secret
	// ofInstance says that each instance, and each of its sets, has credentials of its own.
	ofInstance bool
	fetch      func(ctx context.Context, in *openimds.Instance, set openimds.CredentialSet) (aws.Credentials, error)
}

func (s *Source) key(in *openimds.Instance, set openimds.CredentialSet) key {
	if !s.ofInstance {
		return key{source: s}
	}
	return key{s, in.ID, set}
}

// ParseSource makes a source of its description:
//
//	generated
//	static:FILE            keys in an AWS shared-credentials file, profile default
//	profile:NAME           an AWS profile, with whatever it names (SSO, process, another role)
//	process:COMMAND        a program that prints credentials, as credential_process
//	assume-role:ARN[?…]    STS, for each instance: the session is named by the instance's id; parameters
//	                       are profile, region, external-id, duration, endpoint, session-tags=true
//
// A nil source is generated.
func ParseSource(spec string) (*Source, error) {
	kind, rest, _ := strings.Cut(spec, ":")
	if kind == "generated" && rest == "" {
		return nil, nil
	}
	if rest == "" {
		return nil, errors.New("credentials: " + kinds)
	}
	switch kind {
	case "static":
		return &Source{name: "static", fetch: found(Search{ConfigFiles: []string{}, CredentialsFiles: []string{rest}, Profile: "default"})}, nil
	case "profile":
		return &Source{name: spec, fetch: found(Search{Profile: rest})}, nil
	case "process":
		return &Source{name: "process", fetch: func(ctx context.Context, _ *openimds.Instance, _ openimds.CredentialSet) (aws.Credentials, error) {
			return process(ctx, rest)
		}}, nil
	case "assume-role":
		return parseAssumeRole(rest)
	}
	return nil, errors.New("credentials: " + kinds)
}

// kinds is said without what was given: who forgets the kind may have given a secret.
const kinds = "a source is generated, static:FILE, profile:NAME, process:COMMAND or assume-role:ARN"

// found fetches what AWS's configuration has. It is read anew each time, so that a change of the files
// is obeyed.
func found(s Search) func(context.Context, *openimds.Instance, openimds.CredentialSet) (aws.Credentials, error) {
	return func(ctx context.Context, _ *openimds.Instance, _ openimds.CredentialSet) (aws.Credentials, error) {
		cfg, err := Find(ctx, s)
		if err != nil {
			return aws.Credentials{}, err
		}
		return cfg.Credentials.Retrieve(ctx)
	}
}

// assumeRole is what one STS session is asked for with.
type assumeRole struct {
	arn, externalID, endpoint, profile, region string
	duration                                   time.Duration
	tags                                       bool
}

func parseAssumeRole(text string) (*Source, error) {
	arn, query, _ := strings.Cut(text, "?")
	if !strings.HasPrefix(arn, "arn:") {
		return nil, errors.New("credentials assume-role: give the ARN of a role, as in arn:aws:iam::123456789012:role/NAME")
	}
	parameters, err := url.ParseQuery(query)
	if err != nil {
		return nil, errors.New("credentials assume-role: the parameters are not of the form key=value&key=value")
	}
	a := assumeRole{arn: arn, duration: time.Hour}
	for name, values := range parameters {
		value := values[len(values)-1]
		switch name {
		case "external-id":
			a.externalID = value
		case "endpoint":
			a.endpoint = value
		case "profile":
			a.profile = value
		case "region":
			a.region = value
		case "duration":
			if a.duration, err = time.ParseDuration(value); err != nil || a.duration < 15*time.Minute || a.duration > 12*time.Hour {
				return nil, errors.New("credentials assume-role: duration is not 15m to 12h")
			}
		case "session-tags":
			if a.tags, err = strconv.ParseBool(value); err != nil {
				return nil, errors.New("credentials assume-role: session-tags is neither true nor false")
			}
		default:
			return nil, errors.New("credentials assume-role: a parameter is profile, region, external-id, duration, endpoint or session-tags")
		}
	}
	return &Source{name: "assume-role:" + arn, ofInstance: true, fetch: a.fetch}, nil
}

// fetch asks STS. Each set has a session of its own: two key ids, as on EC2.
func (a assumeRole) fetch(ctx context.Context, in *openimds.Instance, _ openimds.CredentialSet) (aws.Credentials, error) {
	cfg, err := Find(ctx, Search{Profile: a.profile, Region: a.region, DefaultRegion: in.Region})
	if err != nil {
		return aws.Credentials{}, err
	}
	client := sts.NewFromConfig(cfg, func(o *sts.Options) {
		if a.endpoint != "" {
			o.BaseEndpoint = &a.endpoint
		}
	})
	request := &sts.AssumeRoleInput{
		RoleArn:         &a.arn,
		RoleSessionName: &in.ID,
		DurationSeconds: aws.Int32(int32(a.duration / time.Second)),
	}
	if a.externalID != "" {
		request.ExternalId = &a.externalID
	}
	if a.tags {
		request.Tags = []types.Tag{
			{Key: aws.String("instance-id"), Value: &in.ID},
			{Key: aws.String("instance-name"), Value: &in.Name},
		}
	}
	answer, err := client.AssumeRole(ctx, request)
	if err != nil {
		return aws.Credentials{}, err
	}
	c := answer.Credentials
	if c == nil || c.AccessKeyId == nil || c.SecretAccessKey == nil || c.SessionToken == nil || c.Expiration == nil {
		return aws.Credentials{}, said("STS answered without credentials")
	}
	return aws.Credentials{
		AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken,
		CanExpire: true, Expires: *c.Expiration,
	}, nil
}
