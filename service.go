package openimds

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// ServiceConfig is what a [Service] needs to know of its installation.
type ServiceConfig struct {
	Region    string
	AccountID string
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Service is the only door to a change. Its methods validate, decide, and commit to the store by
// compare-and-set; they hold no state of their own, so any number of services may share one store.
type Service struct {
	store Store
	cfg   ServiceConfig
}

// NewService makes the service of one installation.
func NewService(store Store, cfg ServiceConfig) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{store: store, cfg: cfg}
}

var (
	regionForm    = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	accountIDForm = regexp.MustCompile(`^[0-9]{12}$`)
	nameForm      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,253}[A-Za-z0-9]$`)
)

// Validate says whether the installation's own words can stand in ARNs and answers.
func (c ServiceConfig) Validate() error {
	if !regionForm.MatchString(c.Region) {
		return fmt.Errorf("region %q is not of the form us-east-1", c.Region)
	}
	if !accountIDForm.MatchString(c.AccountID) {
		return fmt.Errorf("account id %q is not 12 digits", c.AccountID)
	}
	return nil
}

// ValidateName refuses what Lightsail refuses as a resource's name.
func ValidateName(name string) error {
	if !nameForm.MatchString(name) {
		return Errorf(InvalidInput, "", "%.300s is not a valid resource name. Resource names must be at least 2 characters long and contain only alphanumerics, -, _, and .", name)
	}
	return nil
}

// EnsureInstance returns the instance of that name, and creates it with the defaults if the store
// holds no instance at all. In a store with others a missing name is an error: it is more likely
// misspelt than meant to be made.
func (s *Service) EnsureInstance(ctx context.Context, name string) (*Instance, error) {
	in, _, err := s.instance(ctx, name)
	if KindOf(err) != NotFound || err == nil {
		return in, err
	}
	page, lerr := s.store.List(ctx, Range{Prefix: InstancePrefix, Limit: 1})
	if lerr != nil {
		return nil, storeFailed(lerr)
	}
	if len(page.Records) > 0 {
		return nil, err
	}
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	in = NewInstance(Launch{Name: name, Region: s.cfg.Region}, s.cfg.Now())
	value, err := EncodeInstance(in)
	if err != nil {
		return nil, err
	}
	_, err = s.store.Commit(ctx, Change{Key: InstancePrefix + name, Value: value, If: IfAbsent})
	if errors.Is(err, ErrConflict) {
		in, _, err = s.instance(ctx, name) // somebody else was first: the same to the caller
		return in, err
	}
	if err != nil {
		return nil, storeFailed(err)
	}
	return in, nil
}

// instance reads an instance and the revision to compare with.
func (s *Service) instance(ctx context.Context, name string) (*Instance, int64, error) {
	return find[*Instance](ctx, s.store, "Instance", InstancePrefix, name)
}
