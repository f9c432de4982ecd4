package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	presence "github.com/openimds/openimds/agent"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// patience bounds each wait for all agents.
const patience = 20 * time.Minute

// agents are the simulated agents of a fleet. Each is what an agent is to a replica: it has joined with a key of its own,
// has connections of its own by mutual TLS, follows, says that it is there, takes seats, tells how far its
// attachments are, and marks changes as applied. All of that is the agent's own code. What it lacks are guests, and a
// disk: what it is told it keeps in memory.
type agents struct {
	address string
	all     []*agent
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	dials  []time.Time
	failed int
	// changes that were asked for, and those that are waited for, by instance.
	changes map[string]int
	await   map[string]chan time.Time // changes that are waited for, by instance
}

type agent struct {
	of         *agents
	name, dir  string
	instances  []string
	invitation openimds.Invitation
	identity   *hostcert.Identity
	client     *hostlink.Client
	region     *hostlink.Region
	presence   *presence.Presence
	kept       *keptCopy
	copy       *hostlink.Copy
	marks      chan *openimds.Instance
	inStep     time.Duration

	received, sent atomic.Int64
}

const region = "us-east-1"

var quiet = slog.New(slog.DiscardHandler)

// join has all hosts get their certificates.
func (f *agents) join(ctx context.Context) error {
	f.changes, f.await = map[string]int{}, map[string]chan time.Time{}
	return each(f.all, 16, func(a *agent) (err error) {
		if err := os.MkdirAll(a.dir, 0o700); err != nil {
			return err
		}
		by, err := hostcert.JoinTLS(a.invitation)
		if err != nil {
			return err
		}
		joining := a.newClient(func() *tls.Config { return by.Clone() })
		defer joining.Close()
		if err := again(ctx, func() (err error) {
			a.identity, err = hostcert.Join(ctx, a.dir, a.invitation, joining.Redeem)
			return err
		}); err != nil {
			return err
		}
		a.client = a.newClient(a.identity.ClientTLS)
		a.region = a.client.Region(region, true, "")
		a.presence = presence.NewPresence(presence.PresenceConfig{Leases: a.region, Hosts: a.region, Name: a.name, Log: quiet})
		a.kept = &keptCopy{of: a, records: map[string]store.Record{}}
		a.marks = make(chan *openimds.Instance, 1000)
		a.copy, err = hostlink.OpenCopy(ctx, a.kept, a.name, quiet)
		return err
	})
}

func (a *agent) newClient(by func() *tls.Config) *hostlink.Client {
	return hostlink.NewClient(hostlink.Config{
		TLS: by, Replicas: []string{a.of.address}, Process: openimds.NewUUID(), Program: "bench", Dial: a.dial, Log: quiet,
	})
}

// dial counts connections, and what goes over them.
func (a *agent) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: hostlink.BeatEvery}).DialContext(ctx, network, address)
	a.of.mu.Lock()
	defer a.of.mu.Unlock()
	if err != nil {
		a.of.failed++
		return nil, err
	}
	a.of.dials = append(a.of.dials, time.Now())
	return &countedConn{c, a}, nil
}

type countedConn struct {
	net.Conn
	agent *agent
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.agent.received.Add(int64(n))
	return n, err
}

func (c *countedConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.agent.sent.Add(int64(n))
	return n, err
}

// begin has all agents follow.
func (f *agents) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	for _, a := range f.all {
		f.running.Go(func() { a.copy.Follow(ctx, a.client) })
		f.running.Go(func() { a.mark(ctx) })
	}
}

func (f *agents) stop() {
	if f.cancel != nil {
		f.cancel()
	}
	f.running.Wait()
	for _, a := range f.all {
		if a.client != nil {
			a.client.Close()
		}
	}
}

// seat has all agents say that they are there, what they serve, and that all of it is attached; and go on saying so.
func (f *agents) seat(ctx context.Context) error {
	lasting, cancel := context.WithCancel(context.Background())
	stop := f.cancel
	f.cancel = func() { cancel(); stop() }
	return each(f.all, len(f.all), func(a *agent) error {
		for a.presence.Lease() == store.NoLease && ctx.Err() == nil {
			a.presence.Join(ctx)
		}
		var statuses []openimds.AttachmentStatus
		for _, name := range a.instances {
			r, err := a.kept.Get(ctx, records.AttachmentPrefix+name)
			if err != nil {
				return fmt.Errorf("%s was not told of %s: %w", a.name, name, err)
			}
			attached, err := records.DecodeAttachment(r)
			if err != nil {
				return err
			}
			statuses = append(statuses, openimds.AttachmentStatus{Instance: name, CreatedAt: attached.CreatedAt, State: "attached"})
		}
		f.running.Go(func() {
			a.presence.Run(lasting, func(ctx context.Context) error {
				return a.region.TakeSeats(ctx, a.presence.Lease(), a.instances...)
			}, nil)
		})
		return again(ctx, func() error {
			// Of the lease of now: where it has ended meanwhile, presence has come back with another one.
			if err := a.region.TakeSeats(ctx, a.presence.Lease(), a.instances...); err != nil {
				return err
			}
			return a.region.ReportAttachments(ctx, a.presence.Lease(), statuses)
		})
	})
}

// again tries as an agent does where the replica is asked for too much at once, or the machine is too busy.
func again(ctx context.Context, do func() error) (err error) {
	for range 100 {
		if err = do(); err == nil || ctx.Err() != nil {
			return err
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	return err
}

// mark tells the replica what is obeyed, as soon as it is told of it.
func (a *agent) mark(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case in := <-a.marks:
			if err := again(ctx, func() error { return a.region.MarkApplied(ctx, in) }); err != nil {
				return
			}
		}
	}
}

// outOfStep waits until no agent follows any more.
func (f *agents) outOfStep(ctx context.Context) error {
	for _, a := range f.all {
		for a.copy.InStep(ctx, 0) == nil {
			if err := sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow has all agents come to follow by what begin does, and waits for the last. begin returns since when they could,
// and how much of its processor's time the replica had used by then.
func (f *agents) follow(ctx context.Context, r *replica, begin func() (time.Time, time.Duration, error)) (following, error) {
	var w following
	received, written := f.received(), f.written()
	f.mu.Lock()
	f.dials, f.failed = nil, 0
	f.mu.Unlock()
	began, before, err := begin()
	if err != nil {
		return w, err
	}
	bounded, done := context.WithTimeout(ctx, patience)
	defer done()
	for _, a := range f.all {
		a.inStep = 0
	}
	err = each(f.all, len(f.all), func(a *agent) error {
		err := a.copy.InStep(bounded, 1<<30)
		a.inStep = time.Since(began)
		return err
	})
	if err != nil {
		return w, fmt.Errorf("not all follow: %w", err)
	}
	var times []time.Duration
	for _, a := range f.all {
		times = append(times, a.inStep)
	}
	slices.Sort(times)
	w.first, w.middle, w.last = times[0], times[len(times)/2], times[len(times)-1]
	after, err := r.cpu()
	w.cpu, w.bytes, w.records = after-before, f.received()-received, f.written()-written
	f.mu.Lock()
	defer f.mu.Unlock()
	w.connections, w.failed, w.peak = len(f.dials), f.failed, peakOf(f.dials)
	return w, err
}

// peakOf is the most that came within one second.
func peakOf(times []time.Time) (peak int) {
	slices.SortFunc(times, time.Time.Compare)
	for first, last := 0, 0; last < len(times); last++ {
		for times[last].Sub(times[first]) > time.Second {
			first++
		}
		peak = max(peak, last-first+1)
	}
	return peak
}

func (f *agents) received() (n int64) {
	for _, a := range f.all {
		n += a.received.Load()
	}
	return n
}

func (f *agents) sent() (n int64) {
	for _, a := range f.all {
		n += a.sent.Load()
	}
	return n
}

func (f *agents) written() (n int64) {
	for _, a := range f.all {
		n += a.kept.written.Load()
	}
	return n
}

// keptCopy is the store of an agent's copy: in memory, and without a history, as nobody watches it.
type keptCopy struct {
	store.Store // what a copy never asks for
	of          *agent
	written     atomic.Int64
	strange     atomic.Int64 // records of instances that this host does not serve

	mu       sync.Mutex
	revision int64
	records  map[string]store.Record
}

// Get implements [store.Store].
func (k *keptCopy) Get(_ context.Context, key string) (store.Record, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, there := k.records[key]
	if !there {
		return r, store.ErrNoRecord
	}
	return r, nil
}

// List implements [store.Store].
func (k *keptCopy) List(_ context.Context, r store.Range) (store.Page, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	page := store.Page{Revision: k.revision}
	for key, record := range k.records {
		if strings.HasPrefix(key, r.Prefix) {
			page.Records = append(page.Records, record)
		}
	}
	slices.SortFunc(page.Records, func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
	return page, nil
}

// Commit implements [store.Store].
func (k *keptCopy) Commit(_ context.Context, changes ...store.Change) (int64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.revision++
	k.written.Add(int64(len(changes)))
	for _, c := range changes {
		if c.Verb == store.Delete {
			delete(k.records, c.Key)
			continue
		}
		k.records[c.Key] = store.Record{Key: c.Key, Value: bytes.Clone(c.Value), Revision: k.revision}
		if name, ok := strings.CutPrefix(c.Key, records.InstancePrefix); ok {
			k.told(name, c)
		}
	}
	return k.revision, nil
}

// told is what an agent does of an instance's record: one that is pending is obeyed, and the replica hears of it.
func (k *keptCopy) told(name string, c store.Change) {
	if _, own := slices.BinarySearch(k.of.instances, name); !own {
		k.strange.Add(1)
	}
	if !bytes.Contains(c.Value, []byte(openimds.OptionsPending)) {
		return
	}
	k.of.of.mu.Lock()
	if came := k.of.of.await[name]; came != nil {
		select {
		case came <- time.Now():
		default:
		}
	}
	k.of.of.mu.Unlock()
	if in, err := records.DecodeInstance(store.Record{Key: c.Key, Value: c.Value}); err == nil {
		k.of.marks <- in
	}
}
