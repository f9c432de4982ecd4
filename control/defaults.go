package control

import (
	"context"
	"errors"

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
// [openimds.NoHopLimitPreference] take a preference away. Instances that are there keep their options.
//
// Errors: InvalidInput/UnknownValue and InvalidInput/OutOfRange for values that no instance may have,
// InvalidInput/NotEnforced for IPv6 in an installation without.
func (s *Service) ModifyDefaults(ctx context.Context, u openimds.OptionsUpdate) (openimds.AccountDefaults, error) {
	var next openimds.AccountDefaults
	if err := s.checkOptions(preferred(u)); err != nil {
		return next, err
	}
	_, err := s.commit(ctx, "ModifyInstanceMetadataDefaults", func(d *draft) error {
		now, was, err := s.defaults(ctx)
		if err != nil {
			return err
		}
		next.Options = preferred(u.Or(now.Options))
		if next.Options.Apply(openimds.MetadataOptions{}) != now.Options.Apply(openimds.MetadataOptions{}) {
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
	return u
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

// launchDefaults are those that this installation can carry out: it may have been started without the IPv6
// address since somebody preferred that, and an instance can be made all the same.
func (s *Service) launchDefaults(ctx context.Context) (openimds.OptionsUpdate, error) {
	d, _, err := s.defaults(ctx)
	if err != nil {
		return openimds.OptionsUpdate{}, err
	}
	if d.Options.IPv6 != nil && !s.cfg.AllowIMDSIPv6 {
		d.Options.IPv6 = nil
	}
	return d.Options, nil
}
