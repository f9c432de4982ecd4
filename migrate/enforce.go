package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/openimds/openimds/api/ec2/wire"
	"github.com/openimds/openimds/client"
)

// ErrNoEnforcement means that a provider has nothing that keeps IMDSv1 off for good.
var ErrNoEnforcement = errors.New("only EC2 can enforce session tokens on an account: --provider ec2")

// Enforcement is whether an account enforces session tokens in a region: no instance is launched without, and none can
// be given back IMDSv1.
type Enforcement struct {
	Region   string `json:"region"`
	Enforced bool   `json:"enforced"`
	// Default is what new instances begin with that say nothing: required, optional, or empty where the account has no
	// preference.
	Default string `json:"default,omitempty"`
	// Open are the instances whose tokens are not required, or not yet.
	Open []string `json:"open,omitempty"`
}

// enforcer is a provider whose account can enforce session tokens.
type enforcer interface {
	Provider
	enforcement(ctx context.Context) (enforced bool, tokens string, err error)
	enforce(ctx context.Context, on bool) error
}

// Enforcements tells of each region of a provider. Errors: [ErrNoEnforcement].
func Enforcements(ctx context.Context, p Provider) ([]Enforcement, error) {
	var all []Enforcement
	for _, e := range enforcersOf(p) {
		if e == nil {
			return nil, ErrNoEnforcement
		}
		one, err := enforcementOf(ctx, e)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func enforcementOf(ctx context.Context, e enforcer) (one Enforcement, err error) {
	one.Region = strings.Join(e.Regions(), ", ")
	if one.Enforced, one.Default, err = e.enforcement(ctx); err != nil {
		return one, fmt.Errorf("%s: %w", one.Region, err)
	}
	instances, err := e.Instances(ctx)
	for _, in := range instances {
		if in.Options.Tokens != required || in.Pending {
			one.Open = append(one.Open, in.Name)
		}
	}
	return one, err
}

// enforcersOf are the providers of a provider's regions; nil among them: one that cannot enforce.
func enforcersOf(p Provider) (all []enforcer) {
	for _, one := range eachRegion(p) {
		e, _ := one.(enforcer)
		all = append(all, e)
	}
	return all
}

// Enforce has the account enforce session tokens in each region of a provider and give them to new instances, or, with
// on false, take back the former. It begins nowhere before all instances of all regions have them required: one whose
// tokens are optional would go on so, and could be brought back to it by nobody. It may be repeated. Errors:
// [ErrNoEnforcement].
func Enforce(ctx context.Context, p Provider, on bool) error {
	all, err := Enforcements(ctx, p)
	if err != nil {
		return err
	}
	for _, one := range all {
		if on && len(one.Open) > 0 {
			return fmt.Errorf("%s: tokens are not required of %d instances yet, %s first: 'openimds migrate status' says why", one.Region, len(one.Open), one.Open[0])
		}
	}
	for _, e := range enforcersOf(p) {
		if err := persist(ctx, func() error { return e.enforce(ctx, on) }); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(e.Regions(), ", "), err)
		}
	}
	return nil
}

func (e *EC2) enforcement(ctx context.Context) (enforced bool, tokens string, err error) {
	answer, err := client.EC2(ctx, e.api, wire.GetInstanceMetadataDefaults, wire.Nothing{})
	has := answer.AccountLevel
	if has.HTTPTokens != nil {
		tokens = string(*has.HTTPTokens)
	}
	return has.HTTPTokensEnforced == enabled, tokens, err
}

func (e *EC2) enforce(ctx context.Context, on bool) error {
	change := wire.ModifyInstanceMetadataDefaultsRequest{HTTPTokensEnforced: new(wire.DefaultEndpoint(disabled))}
	if on {
		change = wire.ModifyInstanceMetadataDefaultsRequest{HTTPTokens: new(wire.DefaultTokens(required)), HTTPTokensEnforced: new(wire.DefaultEndpoint(enabled))}
	}
	_, err := client.EC2(ctx, e.api, wire.ModifyInstanceMetadataDefaults, change)
	return err
}
