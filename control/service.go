// Package control is the one door to a change. [Service] checks what is asked for, decides, and commits it to
// a store by compare-and-set; everybody else learns of a change by watching the store. Every operator's API
// stands above it and adds no rule of its own.
package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/refusals"
	"github.com/openimds/openimds/store"
)

// Config is what a [Service] needs to know of its installation.
type Config struct {
	Region    string
	AccountID string
	// HomeRegion is the region whose records stand in Whole itself; empty: Region.
	HomeRegion string
	// Whole is the store of all regions, of which the service's own is a part; nil: the service's own. A place of a host is
	// there once for all of them.
	Whole store.Store
	// Host is the name of the host that this service's process carries attachments out on; empty:
	// [openimds.LocalHost].
	Host string
	// Nameless says that Host was made up for this process, so that nothing can be attached by it.
	Nameless bool
	// AllowIMDSIPv6 says whether this installation serves fd00:ec2::254 at all; without it, nobody
	// may enable it for an instance.
	AllowIMDSIPv6 bool
	// TransitionTime is how long an instance is pending or stopping, up to [MaxTransitionTime]; 0: no time. With one,
	// somebody calls [Service.EndTransition] when it is over.
	TransitionTime time.Duration
	// History and Callers tell what the guest side counted; nil: nothing was.
	History openimds.MetricHistory
	Callers openimds.CallerList
	// Refusals tells what this process's guest side refused, as it happens; nil: it has none.
	Refusals openimds.RefusalCounter
	// Guests tells what guests would be answered; nil: nobody can.
	Guests openimds.GuestAnswers
	// Seats are the guests of this process, which obey a change before it is answered; nil: there are none.
	Seats openimds.GuestSeats
	// SeatsTime is how long a change waits for them at most; 0: 3 seconds.
	SeatsTime time.Duration
	// Reports signs the reports of the installation, and Changes reads what Audit was told; nil: nobody does.
	Reports openimds.ReportSigner
	Changes openimds.ChangeLog
	// Version is that of the host's program, for those who look at hosts.
	Version string
	// Door is where hosts join this server; nil: none can.
	Door HostDoor
	// Attachments carries attachments out; nil: this server cannot, and CannotAttach says why, for people.
	Attachments  Attachments
	CannotAttach string
	// KeySigner signs SSH keys that are pushed; nil: none can be.
	KeySigner KeySigner
	// Audit is told of every change before it is made, and of those that then failed; nil: nobody is.
	// When it returns an error, [store.ErrFull] where its disk is full, the change is not made.
	Audit func(context.Context, ...openimds.AuditEntry) error
	// AuditRecords are those of what Audit was told of a change, within the commit of that change and in one ahead of it: so
	// servers of one store have a log together. nil: there are none.
	AuditRecords func([]openimds.AuditEntry) (ahead, within []store.Change, err error)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Service is the only door to a change. Its methods validate, decide, and commit to the store by
// compare-and-set; they hold no state of their own but what they have read, so any number of services may share one store.
//
// Errors are [openimds.Error]s, written Kind/Code in the comments of the methods that have some of their own. Any
// method may return InvalidInput/Malformed for a name that cannot be one, InvalidInput/TooLarge where an instance
// would grow beyond [openimds.MaxInstanceRecord], Unavailable/StoreAway, Unavailable/Contended, Unavailable/AuditAway
// and Internal/Broken. With an error, everything is as it was, unless the comment says otherwise; only after
// StoreAway a change may have been made, as the next look tells.
type Service struct {
	store store.Store
	cfg   Config
	// process tells the seats that were taken through this service from those of an earlier or later process of
	// its host.
	process string
	// self is what its host's record says.
	self records.Host
	// What was read of all instances and attachments, for who looks through all of them.
	instances   *remembered[*FleetInstance]
	attachments *remembered[*openimds.Attachment]
	// refused is what others' hosts tell of refused calls.
	refused *refusals.Watch
	// again has room for the one writer whose turn it is to try again after a conflict.
	again chan struct{}
	keys  *keyMaker
	// byID: methods take an instance's id where others take its name.
	byID bool
	// trial: nothing is committed.
	trial bool
}

// New makes the service of one installation.
func New(store store.Store, cfg Config) *Service {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Host, cfg.SeatsTime = cmp.Or(cfg.Host, openimds.LocalHost), cmp.Or(cfg.SeatsTime, seatsTime)
	s := &Service{
		store: store, cfg: cfg, process: openimds.NewUUID(), again: make(chan struct{}, 1), keys: newKeyMaker(generateKey),
		self:        records.Host{Attaches: cfg.Attachments != nil, Why: cfg.CannotAttach, Tells: cfg.Refusals != nil, Version: cfg.Version},
		instances:   newRemembered(records.InstancePrefix, readFleetInstance),
		attachments: newRemembered(records.AttachmentPrefix, readAttachment),
	}
	s.refused = s.newRefusalWatch()
	return s
}

// ByID is the same service with methods that take an instance's id, "i-" and hexadecimal digits, where others take its
// name: a change then meets that very instance, and never another one that was given its name.
func (s *Service) ByID() *Service {
	by := *s
	by.byID = true
	return &by
}

// Trial is the same service, which refuses a change as ever and makes none: what its methods return without an error
// is what would have been.
func (s *Service) Trial() *Service {
	only := *s
	only.trial = true
	return &only
}

var (
	regionForm    = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	accountIDForm = regexp.MustCompile(`^[0-9]{12}$`)
)

// IsRegion says whether a word has the form of a region's name.
func IsRegion(name string) bool { return regionForm.MatchString(name) }

// Validate says whether the installation's own words can stand in ARNs and answers.
func (c Config) Validate() error {
	if !regionForm.MatchString(c.Region) {
		return fmt.Errorf("region %q is not of the form us-east-1", c.Region)
	}
	if !accountIDForm.MatchString(c.AccountID) {
		return fmt.Errorf("account id %q is not 12 digits", c.AccountID)
	}
	if c.TransitionTime < 0 || c.TransitionTime > MaxTransitionTime {
		return fmt.Errorf("a transition time of %s is not 0 to %s", openimds.Brief(c.TransitionTime), openimds.Brief(MaxTransitionTime))
	}
	return openimds.ValidateHost(c.Host)
}

// Region is where the installation says that it is.
func (s *Service) Region() string { return s.cfg.Region }

// AccountID is the account that the installation says it belongs to.
func (s *Service) AccountID() string { return s.cfg.AccountID }

// ARN is the Amazon resource name of a resource, made of its UUID.
func (s *Service) ARN(t openimds.ResourceType, uuid string) string {
	return "arn:aws:lightsail:" + s.cfg.Region + ":" + s.cfg.AccountID + ":" + string(t) + "/" + uuid
}

// taken returns those of the names that a resource of any type has.
func (s *Service) taken(ctx context.Context, names ...string) ([]string, error) {
	var taken []string
	for _, name := range names {
		_, err := s.store.Get(ctx, records.NameKey(name))
		if err != nil && !errors.Is(err, store.ErrNoRecord) {
			return nil, storeFailed(err)
		}
		if err == nil {
			taken = append(taken, name)
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
	return openimds.Errorf(openimds.InvalidInput, openimds.NameTaken, "These names are taken: %s", strings.Join(names, ", "))
}
