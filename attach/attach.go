// Package attach carries the attachments that the store has to this host's network: it seats the instances
// that are attached here, hands the host the whole set of their endpoints, and has kept what the host binds
// them to.
package attach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// Network makes the host's network serve a set of endpoints; [hostnet.Network] is one.
type Network interface {
	Set(endpoints []hostnet.Endpoint) error
}

// Binder keeps what attachments are bound to; [control.Service] is one.
type Binder interface {
	BindAttachments(ctx context.Context, bindings []openimds.Binding) error
}

// Seats serve instances on this host. A seat stays until it was given back as
// often as it was taken.
type Seats interface {
	SeatAll(ctx context.Context, instances []string) error
	Unseat(instance string) error
	// Await waits until an instance that is served obeys its record of that revision, or the context ends.
	Await(ctx context.Context, instance string, revision int64) error
}

// Config is what [Attachments] work with.
type Config struct {
	Store  store.Store
	Binder Binder
	Seats  Seats
	Host   Network
	// Name of the host; only its attachments are carried out. Empty: [openimds.LocalHost].
	Name string
	// LetGo tells that this host answers no more for instances that were moved to another one; nil: none can be.
	LetGo func(ctx context.Context, instances []string) error
	// Report keeps how far attachments are, for all who ask; nil: nobody does.
	Report func(context.Context, []openimds.AttachmentStatus) error
	Log    *slog.Logger
}

// Attachments keep the host's network in step with the attachments in the store.
type Attachments struct {
	cfg Config
	// seated are the instances that have a seat for an attachment; only Run has to do with them.
	seated map[string]bool
	// fresh are the instances that have been bound to another guest since the host was last made so, and
	// the revisions of that; only Run has to do with them.
	fresh map[string]int64

	// mu is never held while the host's network is changed: to ask how far that is must not wait for it.
	mu sync.Mutex
	// wanted are the endpoints of the attachments, by instance; status is what the host told of them.
	wanted map[string]hostnet.Endpoint
	status map[string]hostnet.EndpointStatus
	// found is what attachments are to be bound to, by instance.
	found    map[string]openimds.Binding
	anyFound chan struct{}
	// ended are the attachments to processes that have ended, by instance, and when they were made.
	ended map[string]time.Time
	// untold are the instances of which nobody has been told yet how far their attachments are.
	untold    map[string]bool
	anyUntold chan struct{}
	// moved are the instances that were moved away from here, and leaving those of them that nobody here answers for
	// any more, which nobody was told of yet.
	moved      map[string]bool
	leaving    map[string]bool
	anyLeaving chan struct{}
	// unbound are those for which something was found and that are not known to be bound to it yet.
	unbound map[string]bool

	settled  chan struct{}
	tellOnce sync.Once
}

// New makes attachments of none yet.
func New(cfg Config) *Attachments {
	cfg.Name = cmp.Or(cfg.Name, openimds.LocalHost)
	return &Attachments{
		cfg: cfg, seated: map[string]bool{}, fresh: map[string]int64{},
		found: map[string]openimds.Binding{}, anyFound: make(chan struct{}, 1), unbound: map[string]bool{},
		moved: map[string]bool{}, leaving: map[string]bool{}, anyLeaving: make(chan struct{}, 1),
		ended: map[string]time.Time{}, untold: map[string]bool{}, anyUntold: make(chan struct{}, 1),
		wanted: map[string]hostnet.Endpoint{}, status: map[string]hostnet.EndpointStatus{}, settled: make(chan struct{}),
	}
}

// Settled is closed once the attachments that were in the store have been bound and made, or tried.
func (a *Attachments) Settled() <-chan struct{} { return a.settled }

// EndpointID names the endpoint of an attachment. It holds the time of the attachment, so that the
// next one of the same instance is another endpoint.
func EndpointID(a *openimds.Attachment) string {
	return a.Instance + "#" + strconv.FormatInt(a.CreatedAt.UnixNano(), 36)
}

// InstanceOf is the name in an endpoint's ID.
func InstanceOf(endpointID string) string {
	name, _, _ := strings.Cut(endpointID, "#")
	return name
}

// createdAt is the time in an endpoint's ID; zero: there is none.
func createdAt(endpointID string) time.Time {
	_, stamp, _ := strings.Cut(endpointID, "#")
	nanoseconds, err := strconv.ParseInt(stamp, 36, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds).UTC()
}

// Run follows the store until the context ends. What is attached stays attached while it is away.
func (a *Attachments) Run(ctx context.Context) {
	var binding sync.WaitGroup
	binding.Go(func() { a.bind(ctx) })
	if a.cfg.Report != nil {
		binding.Go(func() { a.report(ctx) })
	}
	if a.cfg.LetGo != nil {
		binding.Go(func() { a.letGo(ctx) })
	}
	defer binding.Wait()
	store.Follow(ctx, a.cfg.Store, store.Follower{
		Prefix: records.AttachmentPrefix,
		Unread: true, // those of all hosts are read by the page, and few are this host's
		Listed: func(ctx context.Context, _ store.Page) error { return a.list(ctx) },
		Changed: func(ctx context.Context, changes []store.Record) error {
			concerned := false
			for _, e := range changes {
				if a.concerns(e) {
					concerned = true
					a.see(e)
				}
			}
			if !concerned {
				return nil
			}
			return a.settle(ctx)
		},
		Log:  a.cfg.Log,
		Away: "the attachments cannot be followed; keeping the last known ones",
	})
}

func (a *Attachments) tellSettled() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.unbound) == 0 {
		a.tellOnce.Do(func() { close(a.settled) })
	}
}

// see takes note of one attachment. One that cannot be read attaches nobody.
func (a *Attachments) see(e store.Record) {
	name := strings.TrimPrefix(e.Key, records.AttachmentPrefix)
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.Value == nil {
		a.forget(name)
		return
	}
	attachment, err := records.DecodeAttachment(e)
	if err != nil {
		a.cfg.Log.Error("an attachment cannot be read; the instance is not attached", "instance", name, "error", err)
		a.forget(name)
		return
	}
	if attachment.Host != a.cfg.Name {
		a.forget(name)
		if slices.Contains(attachment.From, a.cfg.Name) {
			a.moved[name] = true
		}
		return
	}
	if len(attachment.From) > 0 { // another host may still answer for it
		a.forget(name)
		return
	}
	if _, known := a.wanted[name]; !known && attachment.PID != 0 && startedAfter(attachment.PID, attachment.CreatedAt) {
		a.cfg.Log.Warn("the process of an attachment has ended; the instance is not attached", "instance", name, "pid", attachment.PID)
		a.ended[name] = attachment.CreatedAt
		a.tell(name)
		return
	}
	delete(a.ended, name)
	before := a.wanted[name]
	endpoint := hostnet.Endpoint{
		ID: EndpointID(attachment), Interface: attachment.Interface, Netns: attachment.Netns, PID: attachment.PID, Sources: attachment.Sources,
		Alias: attachment.Alias, ByName: attachment.ByName, Bound: (*hostnet.Face)(attachment.Bound),
		IPv6: true, // whether fd00:ec2::254 answers is the instance's option, which its guest obeys
	}
	for _, l := range attachment.Learned {
		endpoint.Learned = append(endpoint.Learned, hostnet.GuestLink(l))
	}
	if attachment.Interface != "" { // of a namespace it is the guest's and marks nothing
		endpoint.MAC = attachment.MAC
	}
	a.wanted[name] = endpoint
	if attachment.Bound != nil || attachment.ByName {
		delete(a.unbound, name)
	}
	if attachment.Bound != nil && (before.Bound == nil || before.ID != a.wanted[name].ID) {
		a.fresh[name] = e.Revision
	}
}

// forget takes an instance from those that are attached. a.mu is held.
func (a *Attachments) forget(name string) {
	delete(a.wanted, name)
	delete(a.status, name)
	delete(a.unbound, name)
	delete(a.ended, name)
	delete(a.untold, name)
	delete(a.moved, name)
	delete(a.leaving, name)
}

// settle seats the instances that are attached now, makes the host so, and empties the other seats:
// in this order, so that no listener is without its instance.
func (a *Attachments) settle(ctx context.Context) error {
	a.mu.Lock()
	wanted, moved := maps.Clone(a.wanted), maps.Clone(a.moved)
	a.mu.Unlock()
	var fresh []string
	for name := range wanted {
		if !a.seated[name] {
			fresh = append(fresh, name)
		}
	}
	if len(fresh) > 0 {
		if err := a.cfg.Seats.SeatAll(ctx, fresh); err != nil {
			return fmt.Errorf("seat %s: %w", strings.Join(fresh[:min(3, len(fresh))], ", "), err)
		}
	}
	for _, name := range fresh {
		a.seated[name] = true
		delete(a.fresh, name)
	}
	a.awaitFresh(ctx)
	if err := a.cfg.Host.Set(slices.Collect(maps.Values(wanted))); err != nil && ctx.Err() == nil && len(wanted) > 0 { // where nothing is wanted, nothing is amiss
		a.cfg.Log.Error("the host's network is not all as it should be", "error", err)
	}
	for name := range a.seated {
		if _, stays := wanted[name]; stays {
			continue
		}
		delete(a.seated, name)
		if err := a.cfg.Seats.Unseat(name); err != nil {
			a.cfg.Log.Error("an instance that was detached could not be closed", "instance", name, "error", err)
			delete(moved, name) // another host begins when this one is gone
		}
	}
	a.leave(moved)
	a.tellSettled()
	return nil
}

// renewal is how long an instance has to obey its record with the token key of another life.
const renewal = 2 * time.Second

// awaitFresh waits until those who are bound to another guest have their new token key, so that the old
// one's tokens do not open for the new one even for a moment.
func (a *Attachments) awaitFresh(ctx context.Context) {
	ctx, done := context.WithTimeout(ctx, renewal)
	defer done()
	for name, revision := range a.fresh {
		// A copy of the store may have the instance by an earlier commit than the attachment, though never by a later one.
		switch in, err := a.cfg.Store.Get(ctx, records.InstancePrefix+name); {
		case errors.Is(err, store.ErrNoRecord):
			continue
		case err == nil:
			revision = min(revision, in.Revision)
		}
		if err := a.cfg.Seats.Await(ctx, name, revision); err != nil {
			a.cfg.Log.Warn("an instance with another guest still has its former token key", "instance", name, "error", err)
		}
	}
	clear(a.fresh)
}

// Changed is told by the host what has become of an endpoint ([hostnet.Config]).
func (a *Attachments) Changed(s hostnet.EndpointStatus) {
	name := InstanceOf(s.ID)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wanted[name].ID != s.ID {
		return // it is of an earlier attachment
	}
	a.status[name] = s
	a.tell(name)
	if s.Found != nil {
		a.cfg.Log.Warn("something else is where an instance is attached; nobody is answered there", "instance", name, "reason", s.Reason)
	}
}

// foundAt is what is at the place of an instance's attachment now and is not what that is bound to; nil:
// nothing else is. a.mu is held.
func (a *Attachments) foundAt(instance string) *openimds.Face {
	if s := a.status[instance]; s.Found != nil && s.ID == a.wanted[instance].ID {
		face := openimds.Face(*s.Found)
		return &face
	}
	return nil
}

// Status says how far the attachment of an instance is: a [hostnet.State], and why if something is amiss.
func (a *Attachments) Status(instance string) (state, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.statusOf(instance)
}

func (a *Attachments) statusOf(instance string) (state, reason string) {
	wanted, known := a.wanted[instance]
	if !known {
		return string(hostnet.Gone), "its process has ended, or it is not known here yet"
	}
	if s := a.status[instance]; s.ID == wanted.ID {
		if s.Found != nil && s.Bound != nil {
			return string(s.State), s.Reason + "; if that is the instance's, attach it again as before"
		}
		if s.Found != nil && wanted.MAC != "" {
			return string(s.State), s.Reason + "; if the link need not show the guest's MAC address, give that as --guest-mac"
		}
		return string(s.State), s.Reason
	}
	return string(hostnet.Waiting), "it is being attached"
}

// States counts the attachments by state: those of [hostnet], and "replaced" of those that wait since
// something else is at their place.
func (a *Attachments) States() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	states := map[string]int{"replaced": 0, "impaired": 0}
	for _, state := range []hostnet.State{hostnet.Attached, hostnet.Waiting, hostnet.Failed, hostnet.Gone} {
		states[string(state)] = 0
	}
	for name, wanted := range a.wanted {
		switch s := a.status[name]; {
		case s.ID != wanted.ID:
			states[string(hostnet.Waiting)]++
		case s.Found != nil:
			states["replaced"]++
		case s.State == hostnet.Attached && s.Reason != "":
			states["impaired"]++
		default:
			states[string(s.State)]++
		}
	}
	return states
}
