package openimds

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// ServiceConfig is what a [Service] needs to know of its installation.
type ServiceConfig struct {
	Region    string
	AccountID string
	// AllowIMDSIPv6 says whether this installation serves fd00:ec2::254 at all; without it, nobody
	// may enable it for an instance.
	AllowIMDSIPv6 bool
	// ValidateOverlay refuses what cannot lie over the table of categories; the table's owner knows.
	// Nil: no overlay is accepted.
	ValidateOverlay func(map[string]*string) error
	// ValidateRecording refuses what cannot stand in place of the table. Nil: no recording is accepted.
	ValidateRecording func(*Recording) error
	// History and Callers tell what the guest side counted; nil: nothing was.
	History MetricHistory
	Callers CallerList
	// Attachments carries attachments out; nil: this server cannot.
	Attachments Attachments
	// Audit is told of every change before it is made, and of those that then failed; nil: nobody is.
	// When it returns an error, the change is not made.
	Audit func(context.Context, ...AuditEntry) error
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Service is the only door to a change. Its methods validate, decide, and commit to the store by
// compare-and-set; they hold no state of their own, so any number of services may share one store.
type Service struct {
	store Store
	cfg   ServiceConfig
	// again has room for the one writer whose turn it is to try again after a conflict.
	again chan struct{}
}

// NewService makes the service of one installation.
func NewService(store Store, cfg ServiceConfig) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{store: store, cfg: cfg, again: make(chan struct{}, 1)}
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

// Region is where the installation says that it is.
func (s *Service) Region() string { return s.cfg.Region }

// AccountID is the account that the installation says it belongs to.
func (s *Service) AccountID() string { return s.cfg.AccountID }

// ARN is the Amazon resource name of a resource, made of its UUID.
func (s *Service) ARN(t ResourceType, uuid string) string {
	return "arn:aws:lightsail:" + s.cfg.Region + ":" + s.cfg.AccountID + ":" + string(t) + "/" + uuid
}

// taken returns those of the names that a resource of any type has.
func (s *Service) taken(ctx context.Context, names ...string) ([]string, error) {
	var taken []string
	for _, name := range names {
		for _, t := range resourceTypes() {
			_, err := s.store.Get(ctx, t.key(name))
			if errors.Is(err, ErrNoRecord) {
				continue
			}
			if err != nil {
				return nil, storeFailed(err)
			}
			taken = append(taken, name)
			break
		}
	}
	return taken, nil
}

// refuseTaken refuses names that are in use. The commit's own conditions stand behind it: it is here
// to say which names they are.
func (s *Service) refuseTaken(ctx context.Context, names ...string) error {
	taken, err := s.taken(ctx, names...)
	if err == nil && len(taken) > 0 {
		err = nameExists(taken)
	}
	return err
}

func nameExists(names []string) error {
	return Errorf(InvalidInput, "NameExists", "Some names are already in use: %s", strings.Join(names, ", "))
}
