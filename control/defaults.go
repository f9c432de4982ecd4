package control

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Defaults are the metadata options that new instances of the region begin with where their launch does not
// say otherwise. Where nobody has ever set any, nothing is preferred.
func (s *Service) Defaults(ctx context.Context) (openimds.AccountDefaults, error) {
	d, _, err := s.defaults(ctx)
	return d, err
}

// ModifyDefaults changes what u has of them, and returns all. [openimds.NoPreference] and
// [openimds.NoHopLimitPreference] take a preference away. Instances that are there keep their options; where tokens
// are enforced, those that require them keep that, too.
//
// Errors: InvalidInput/UnknownValue and InvalidInput/OutOfRange for values that no instance may have,
// InvalidInput/NotEnforced for IPv6 in an installation without.
func (s *Service) ModifyDefaults(ctx context.Context, u openimds.DefaultsUpdate) (openimds.AccountDefaults, error) {
	var next openimds.AccountDefaults
	if err := s.checkOptions(preferred(u.Options)); err != nil {
		return next, err
	}
	if e := u.TokensEnforced; e != nil && *e != openimds.EndpointEnabled && *e != openimds.EndpointDisabled && *e != openimds.NoPreference {
		return next, openimds.Errorf(openimds.InvalidInput, openimds.UnknownValue, "%s must be enabled, disabled or no-preference, not %.100q", openimds.FieldTokensEnforced, *e)
	}
	_, err := s.commit(ctx, "ModifyInstanceMetadataDefaults", func(d *draft) error {
		now, was, err := s.defaults(ctx)
		if err != nil {
			return err
		}
		next.Options = preferred(u.Options.Or(now.Options))
		next.TokensEnforced = *cmp.Or(u.TokensEnforced, &now.TokensEnforced)
		if next.TokensEnforced == openimds.NoPreference {
			next.TokensEnforced = ""
		}
		if next.Options.Apply(openimds.MetadataOptions{}) != now.Options.Apply(openimds.MetadataOptions{}) || next.TokensEnforced != now.TokensEnforced {
			d.put(was, next)
		}
		return nil
	})
	return next, err
}

// preferred is u without the words that take a preference away.
func preferred(u openimds.OptionsUpdate) openimds.OptionsUpdate {
	if u.Tokens != nil && *u.Tokens == openimds.NoPreference {
		u.Tokens = nil
	}
	if u.Endpoint != nil && *u.Endpoint == openimds.NoPreference {
		u.Endpoint = nil
	}
	if u.HopLimit != nil && *u.HopLimit == openimds.NoHopLimitPreference {
		u.HopLimit = nil
	}
	if u.IPv6 != nil && *u.IPv6 == openimds.NoPreference {
		u.IPv6 = nil
	}
	if u.Tags != nil && *u.Tags == openimds.NoPreference {
		u.Tags = nil
	}
	return u
}

// enforceTokens refuses tokens that are not required where the account demands that they are, in a draft that does
// not happen if the account's mind is changed meanwhile.
func (s *Service) enforceTokens(ctx context.Context, d *draft, name string, tokens openimds.TokensMode) error {
	if tokens == openimds.TokensRequired {
		return nil
	}
	defaults, was, err := s.defaults(ctx)
	if err != nil {
		return err
	}
	if defaults.Enforced() {
		return openimds.Errorf(openimds.OperationFailure, openimds.TokensEnforced, "The account demands that session tokens are required: %s cannot have them %s", name, tokens)
	}
	if !slices.ContainsFunc(d.changes, func(c store.Change) bool { return c.Key == was.Key }) {
		d.changes = append(d.changes, store.Change{Verb: store.Check, Key: was.Key, If: was.Revision})
	}
	return nil
}

// defaults reads them, and their record as the state to compare with.
func (s *Service) defaults(ctx context.Context) (openimds.AccountDefaults, store.Record, error) {
	key := records.DefaultsPrefix + s.cfg.Region
	r, err := s.store.Get(ctx, key)
	if errors.Is(err, store.ErrNoRecord) {
		return openimds.AccountDefaults{}, store.Record{Key: key, Revision: store.IfAbsent}, nil
	}
	if err != nil {
		return openimds.AccountDefaults{}, r, storeFailed(err)
	}
	d, err := read[openimds.AccountDefaults](r)
	return d, r, err
}

// carriedOut are those that this installation can carry out: it may have been started without the IPv6
// address since somebody preferred that, and an instance can be made all the same.
func (s *Service) carriedOut(preferred openimds.OptionsUpdate) openimds.OptionsUpdate {
	if !s.cfg.AllowIMDSIPv6 {
		preferred.IPv6 = nil
	}
	return preferred
}
