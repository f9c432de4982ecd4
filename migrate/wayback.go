package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

// ErrNoWayBack means that instances whose tokens are required could not be given IMDSv1 back, by nobody.
var ErrNoWayBack = errors.New("there would be no way back")

// account is a provider whose account may enforce session tokens, which takes the way back from everybody.
type account interface {
	Provider
	tokensEnforced(ctx context.Context) (bool, error)
	// release is the command that ends that.
	release() string
}

// accountsOf are the accounts of a provider's regions that can enforce session tokens.
func accountsOf(p Provider) (all []account) {
	for _, one := range eachRegion(p) {
		if a, ok := one.(account); ok {
			all = append(all, a)
		}
	}
	return all
}

// eachRegion are the providers that a provider is made of.
func eachRegion(p Provider) (all []Provider) {
	several, ok := p.(regions)
	if !ok {
		return []Provider{p}
	}
	for _, region := range several.in {
		all = append(all, eachRegion(several.of[region])...)
	}
	return all
}

// WayBack finds out, of each region of a provider, whether instances whose tokens are required could be given IMDSv1
// back. What nobody tells is not taken for a way back. Errors: [ErrNoWayBack].
func WayBack(ctx context.Context, p Provider) error {
	for _, a := range accountsOf(p) {
		region := strings.Join(a.Regions(), ", ")
		enforced, err := a.tokensEnforced(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("%s: whether the account enforces session tokens cannot be found out (%w), so that %w for whom it breaks; --no-way-back goes on all the same", region, err, ErrNoWayBack)
		case enforced:
			return fmt.Errorf("%s: the account enforces session tokens, so that %w for whom it breaks; '%s' ends that, --no-way-back goes on all the same", region, ErrNoWayBack, a.release())
		}
	}
	return nil
}

// wayBack is [WayBack], unless the run may do without.
func (r *Run) wayBack(ctx context.Context) error {
	if r.NoWayBack {
		return nil
	}
	return WayBack(ctx, r.provider)
}

// shut says why the instances of a region can be given IMDSv1 back by nobody, of each region of which that is known.
func (r *Run) shut(ctx context.Context) map[string]string {
	found := map[string]string{}
	for _, a := range accountsOf(r.provider) {
		if enforced, err := a.tokensEnforced(ctx); err != nil || !enforced {
			continue // of what is not known it is tried
		}
		for _, region := range a.Regions() {
			found[region] = fmt.Sprintf("the account enforces session tokens there and gives nobody IMDSv1 back until '%s'", a.release())
		}
	}
	return found
}

// withoutShut are those that can be taken back. The error tells of the others, by region.
func withoutShut(all []*Progress, shut map[string]string) (left []*Progress, failed error) {
	of := map[string]int{}
	for _, p := range all {
		if shut[p.Region] != "" && p.Before.Tokens != required {
			of[p.Region]++
		} else {
			left = append(left, p)
		}
	}
	for _, region := range slices.Sorted(maps.Keys(of)) {
		failed = also(failed, fmt.Errorf("%d of %s were left: %s", of[region], region, shut[region]))
	}
	return left, failed
}

func (e *EC2) tokensEnforced(ctx context.Context) (bool, error) {
	var enforced bool
	err := persist(ctx, func() (err error) {
		enforced, _, err = e.enforcement(ctx)
		return err
	})
	return enforced, err
}

func (e *EC2) release() string {
	return "openimds migrate enforce --provider ec2 --region " + e.api.Region() + " --off --yes"
}

func (o OpenIMDS) tokensEnforced(ctx context.Context) (bool, error) {
	var defaults wire.MetadataDefaults
	err := persist(ctx, func() (err error) {
		defaults, err = client.Call(ctx, o.api, wire.GetInstanceMetadataDefaults, wire.Nothing{})
		return err
	})
	return defaults.HTTPTokensEnforced == enabled, err
}

func (o OpenIMDS) release() string {
	return "openimds defaults --http-tokens-enforced disabled"
}
