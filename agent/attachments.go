package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/hostnet"
)

// Host makes the host's network serve a set of endpoints; [hostnet.Host] is one.
type Host interface {
	Set(endpoints []hostnet.Endpoint) error
}

// Seats are the places where instances are served on this host. A place stays until it was given back as
// often as it was taken.
type Seats interface {
	Seat(ctx context.Context, instance string) error
	Unseat(instance string) error
}

// AttachConfig is what [Attachments] work with.
type AttachConfig struct {
	Store openimds.Store
	Seats Seats
	Host  Host
	Log   *slog.Logger
}

// Attachments keep the host's network in step with the attachments in the store. It implements
// [openimds.Attachments].
type Attachments struct {
	cfg AttachConfig
	// seated are the instances that have a seat for an attachment; only Run has to do with them.
	seated map[string]bool

	// mu is never held while the host's network is changed: to ask how far that is must not wait for it.
	mu sync.Mutex
	// wanted are the endpoints of the attachments, by instance; status is what the host told of them.
	wanted map[string]hostnet.Endpoint
	status map[string]hostnet.EndpointStatus

	settled  chan struct{}
	tellOnce sync.Once
}

// NewAttachments makes attachments of none yet.
func NewAttachments(cfg AttachConfig) *Attachments {
	return &Attachments{
		cfg: cfg, seated: map[string]bool{},
		wanted: map[string]hostnet.Endpoint{}, status: map[string]hostnet.EndpointStatus{}, settled: make(chan struct{}),
	}
}

// Settled is closed once the attachments that were in the store have been made, or tried.
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

// Run follows the store until the context ends. What is attached stays attached while it is away.
func (a *Attachments) Run(ctx context.Context) {
	for backoff := 50 * time.Millisecond; ctx.Err() == nil; backoff = min(2*backoff, 5*time.Second) {
		err := a.follow(ctx)
		if ctx.Err() != nil || errors.Is(err, openimds.ErrStoreClosed) {
			return
		}
		if errors.Is(err, openimds.ErrCompacted) {
			backoff = 50 * time.Millisecond
			continue
		}
		a.cfg.Log.Warn("the attachments cannot be followed; keeping the last known ones", "error", err, "retry", backoff)
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
	}
}

func (a *Attachments) follow(ctx context.Context) error {
	page, err := a.cfg.Store.List(ctx, openimds.Range{Prefix: openimds.AttachmentPrefix})
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, r := range page.Records {
		there[strings.TrimPrefix(r.Key, openimds.AttachmentPrefix)] = true
		a.see(openimds.Event(r))
	}
	a.mu.Lock()
	for name := range a.wanted {
		if !there[name] {
			a.forget(name)
		}
	}
	a.mu.Unlock()
	if err := a.settle(ctx); err != nil {
		return err
	}
	a.tellOnce.Do(func() { close(a.settled) })
	watch := a.cfg.Store.Watch(openimds.AttachmentPrefix, page.Revision)
	for {
		events, err := watch.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range events {
			a.see(e)
		}
		if err := a.settle(ctx); err != nil {
			return err
		}
	}
}

// see takes note of one attachment. One that cannot be read attaches nobody.
func (a *Attachments) see(e openimds.Event) {
	name := strings.TrimPrefix(e.Key, openimds.AttachmentPrefix)
	a.mu.Lock()
	defer a.mu.Unlock()
	if e.Value == nil {
		a.forget(name)
		return
	}
	attachment, err := openimds.DecodeAttachment(openimds.Record(e))
	if err != nil {
		a.cfg.Log.Error("an attachment cannot be read; the instance is not attached", "instance", name, "error", err)
		a.forget(name)
		return
	}
	if _, known := a.wanted[name]; !known && attachment.PID != 0 && startedAfter(attachment.PID, attachment.CreatedAt) {
		a.cfg.Log.Warn("the process of an attachment has ended; the instance is not attached", "instance", name, "pid", attachment.PID)
		return
	}
	a.wanted[name] = hostnet.Endpoint{
		ID: EndpointID(attachment), Interface: attachment.Interface, Netns: attachment.Netns, PID: attachment.PID, Sources: attachment.Sources,
		IPv6: true, // whether fd00:ec2::254 answers is the instance's option, which its guest obeys
	}
}

// forget takes an instance from those that are attached. a.mu is held.
func (a *Attachments) forget(name string) {
	delete(a.wanted, name)
	delete(a.status, name)
}

// settle seats the instances that are attached now, makes the host so, and empties the other seats:
// in this order, so that no listener is without its instance.
func (a *Attachments) settle(ctx context.Context) error {
	a.mu.Lock()
	wanted := maps.Clone(a.wanted)
	a.mu.Unlock()
	for name := range wanted {
		if a.seated[name] {
			continue
		}
		if err := a.cfg.Seats.Seat(ctx, name); err != nil {
			return fmt.Errorf("seat %s: %w", name, err)
		}
		a.seated[name] = true
	}
	if err := a.cfg.Host.Set(slices.Collect(maps.Values(wanted))); err != nil {
		a.cfg.Log.Error("the host's network is not all as it should be", "error", err)
	}
	for name := range a.seated {
		if _, stays := wanted[name]; stays {
			continue
		}
		delete(a.seated, name)
		if err := a.cfg.Seats.Unseat(name); err != nil {
			a.cfg.Log.Error("an instance that was detached could not be closed", "instance", name, "error", err)
		}
	}
	return nil
}

// Changed is told by the host what has become of an endpoint ([hostnet.Config]).
func (a *Attachments) Changed(s hostnet.EndpointStatus) {
	name := InstanceOf(s.ID)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wanted[name].ID == s.ID { // else it is of an earlier attachment
		a.status[name] = s
	}
}

// Status implements [openimds.Attachments].
func (a *Attachments) Status(instance string) (state, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	wanted, known := a.wanted[instance]
	if !known {
		return string(hostnet.Gone), "its process has ended, or it is not known here yet"
	}
	if s := a.status[instance]; s.ID == wanted.ID {
		return string(s.State), s.Reason
	}
	return string(hostnet.Waiting), "it is being attached"
}

// startedAfter says whether the process of that number began after t, or is not there: then it is not
// the one that was meant then (proc(5): field 22 of stat counts hundredths of a second since boot).
func startedAfter(pid int, t time.Time) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return true
	}
	// The name, field 2, may hold blanks and parentheses.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return true
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return true
	}
	var up float64
	if _, err := fmt.Sscan(string(uptime), &up); err != nil {
		return true
	}
	age := time.Duration(up*float64(time.Second)) - time.Duration(ticks)*10*time.Millisecond
	// A second of grace for the rounding of both clocks: a number is not given out again so soon.
	return time.Now().Add(-age).After(t.Add(time.Second))
}
