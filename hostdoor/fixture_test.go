package hostdoor_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostdoor"
	"github.com/openimds/openimds/hostlink"
	"github.com/openimds/openimds/identity"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/store/storetest"
	"github.com/openimds/openimds/store/within"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; no test waits for it unless it fails.
const patience = 3 * time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// attaching is a server that attaches, so that its service takes attachments.
type attaching struct{}

func (attaching) Guarded() []openimds.GuardedPlace { return nil }

func (attaching) Status(string, time.Time) (openimds.AttachmentStatus, bool) {
	return openimds.AttachmentStatus{}, false
}

func (attaching) Release([]string) ([]openimds.GuardedPlace, error) { return nil, nil }

// replica is one with a door, over a store in memory, in two regions.
type replica struct {
	t         *testing.T
	store     store.Store
	authority *hostcert.Authority
	services  map[string]*control.Service
	address   string
	door      *hostdoor.Door

	mu      sync.Mutex
	refused []openimds.AuditEntry
	reads   func(key string) // called before the door reads a record of the region at home
	now     time.Time        // what the services take for now; zero: it is
	away    bool             // the store does not answer the door
	held    chan struct{}    // the door is told of no change until it is closed; nil: it is at once
}

// interrupted is a store where something may happen before a record is read.
type interrupted struct {
	store.Store
	replica *replica
}

func (i interrupted) Get(ctx context.Context, key string) (store.Record, error) {
	i.replica.mu.Lock()
	reads, away := i.replica.reads, i.replica.away
	i.replica.mu.Unlock()
	if away {
		return store.Record{}, errors.New("the store is away")
	}
	if reads != nil {
		reads(key)
	}
	return i.Store.Get(ctx, key)
}

// behind is a store whose watches may be held.
type behind struct {
	store.Store
	replica *replica
}

func (b behind) Watch(prefix string, after int64) store.Watcher {
	return heldWatch{b.Store.Watch(prefix, after), b.replica}
}

type heldWatch struct {
	store.Watcher
	replica *replica
}

func (w heldWatch) Next(ctx context.Context) ([]store.Record, error) {
	changes, err := w.Watcher.Next(ctx)
	w.replica.mu.Lock()
	held := w.replica.held
	w.replica.mu.Unlock()
	if held != nil && err == nil {
		select {
		case <-held:
		case <-ctx.Done():
		}
	}
	return changes, err
}

// clock is that of the services.
func (r *replica) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now.IsZero() {
		return time.Now()
	}
	return r.now
}

// forward has the services take that for now.
func (r *replica) forward(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = now
}

// hold has the door hear of no change from now on until go on is called.
func (r *replica) hold() (goOn func()) {
	held := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = held
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.held = nil
		close(held)
	}
}

const (
	home    = "us-east-1"
	further = "eu-west-1"
	process = "11111111-2222-3333-4444-555555555555"
)

func newReplica(t *testing.T, set ...func(*hostdoor.Config)) *replica {
	t.Helper()
	r := &replica{t: t, store: storetest.Lasting(mem.New()), services: map[string]*control.Service{}}
	log := slog.New(slog.DiscardHandler)
	var err error
	r.authority, err = hostcert.Open(t.Context(), hostcert.Config{Store: r.store, Log: log})
	must(t, err)
	keys, err := identity.Ensure(t.TempDir(), time.Now())
	must(t, err)
	signer := identity.NewSigner(log)
	signer.Use(keys, time.Now())
	cfg := hostdoor.Config{
		Authority: r.authority, Home: home, Whole: interrupted{r.store, r}, Signer: signer, Log: log,
		Refused: func(_ context.Context, e openimds.AuditEntry, _ string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.refused = append(r.refused, e)
		},
	}
	for _, region := range []string{home, further} {
		part := r.store
		if region != home {
			part = within.New(r.store, records.RegionKey(region), records.SharedPrefixes()...)
		}
		r.services[region] = control.New(part, control.Config{Region: region, HomeRegion: home, Whole: r.store, AccountID: "123456789012", Now: r.clock, Attachments: attaching{}})
		part = behind{part, r}
		if region == home {
			part = interrupted{part, r}
		}
		cfg.Regions = append(cfg.Regions, hostdoor.Region{Name: region, Store: part, Service: r.services[region]})
	}
	for _, s := range set {
		s(&cfg)
	}
	door := hostdoor.New(cfg)
	r.door = door
	door.UseTLS(r.authority.ServerTLS())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.authority.Run(ctx) })
	running.Go(func() { door.Run(ctx) })
	running.Go(func() { _ = door.Serve(l) })
	t.Cleanup(func() {
		ended, done := context.WithTimeout(context.Background(), time.Second)
		defer done()
		_ = door.Shutdown(ended) // some tests leave a stream open
		cancel()
		running.Wait()
	})
	return r
}

// refusals are those that were put down of a host, by what was asked.
func (r *replica) refusals(who string) (what []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.refused {
		if e.Who == who {
			what = append(what, e.What)
		}
	}
	return what
}

func (r *replica) create(name, userData string) *openimds.Instance {
	r.t.Helper()
	r.createIn(home, name)
	data := []byte(userData)
	_, err := r.services[home].SetInstance(r.t.Context(), name, control.InstanceUpdate{UserData: &data})
	must(r.t, err)
	return r.instance(name)
}

func (r *replica) createIn(region, name string) *openimds.Instance {
	r.t.Helper()
	_, err := r.services[region].CreateInstances(r.t.Context(), control.InstancesLaunch{
		Names: []string{name}, Zone: region + "a", BlueprintID: "ubuntu_24_04", BundleID: "nano_3_0",
	})
	must(r.t, err)
	in, err := r.services[region].Instance(r.t.Context(), name)
	must(r.t, err)
	return in
}

func (r *replica) instance(name string) *openimds.Instance {
	r.t.Helper()
	in, err := r.services[home].Instance(r.t.Context(), name)
	must(r.t, err)
	return in
}

// attach attaches an instance to a host, which has to be there.
func (r *replica) attach(name, host, link string) {
	r.t.Helper()
	_, err := r.services[home].AttachInstance(r.t.Context(), openimds.Attachment{Instance: name, Host: host, Interface: link})
	must(r.t, err)
}

func (r *replica) detach(name string) {
	r.t.Helper()
	_, err := r.services[home].DetachInstance(r.t.Context(), name)
	must(r.t, err)
}

// host is one that has joined.
type host struct {
	t        *testing.T
	replica  *replica
	name     string
	identity *hostcert.Identity
	client   *hostlink.Client
	region   *hostlink.Region
	http     *http.Client
	address  string
	lease    store.Lease
}

func (r *replica) invite(name string) openimds.Invitation {
	r.t.Helper()
	token := openimds.NewJoinToken(name)
	until := time.Now().Add(time.Hour)
	value, err := records.Encode(records.JoinToken{Sum: token.Sum(), Until: until})
	must(r.t, err)
	_, err = r.store.Commit(r.t.Context(), store.Change{Key: records.JoinTokenKey(name), Value: value, If: store.Whatever})
	must(r.t, err)
	return openimds.Invitation{
		Version: openimds.InvitationVersion, Host: name, Token: token, Until: until,
		Authority: string(r.authority.CertificatePEM()), Replicas: []string{r.address},
	}
}

func (r *replica) join(name string) *host {
	r.t.Helper()
	h := &host{t: r.t, replica: r, name: name, address: r.address}
	patiently(r.t, func() (err error) {
		invitation := r.invite(name) // the one before may have been used up without an answer
		by, err := hostcert.JoinTLS(invitation)
		must(r.t, err)
		h.identity, err = hostcert.Join(r.t.Context(), r.t.TempDir(), invitation, r.client(hostlink.Config{TLS: always(by)}).Redeem)
		return err
	})
	h.client = r.client(hostlink.Config{TLS: h.identity.ClientTLS})
	h.region = h.client.Region(home, true, "")
	h.http = &http.Client{Transport: &http.Transport{TLSClientConfig: h.identity.ClientTLS(), ForceAttemptHTTP2: true}}
	r.t.Cleanup(h.http.CloseIdleConnections)
	h.lease = h.joinHost(home)
	r.keepAlive(h.lease)
	return h
}

// joinHost says that the host is there in a region.
func (h *host) joinHost(region string) (lease store.Lease) {
	h.t.Helper()
	patiently(h.t, func() (err error) {
		lease, err = h.client.Region(region, true, "").JoinHost(h.t.Context(), true)
		return err
	})
	return lease
}

// keepAlive keeps a lease for as long as the test lasts, unless it is ended: how long that is, is the machine's.
func (r *replica) keepAlive(lease store.Lease) {
	ctx, cancel := context.WithCancel(context.Background())
	var keeping sync.WaitGroup
	keeping.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for r.store.KeepAlive(ctx, lease) == nil {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	r.t.Cleanup(func() { cancel(); keeping.Wait() })
}

func (r *replica) client(cfg hostlink.Config) *hostlink.Client {
	cfg.Replicas, cfg.Process, cfg.Log = []string{r.address}, process, slog.New(slog.DiscardHandler)
	c := hostlink.NewClient(cfg)
	r.t.Cleanup(c.Close)
	return c
}

// ask sends a request as it is, and returns the status and the whole answer. Where the machine was too slow for the
// connection it is sent again, so that it may have been answered before.
func (h *host) ask(path string, body any) (int, string) {
	h.t.Helper()
	var status int
	var answer string
	patiently(h.t, func() (err error) {
		status, answer, err = h.try(path, body)
		return err
	})
	return status, answer
}

// try is ask where there may be no answer, as in time on a busy machine.
func (h *host) try(path string, body any) (int, string, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, "", err
	}
	resp, err := h.http.Post("https://"+h.address+path, "application/json", bytes.NewReader(text))
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(answer), err
}

// copied is the host's own copy, which follows the replica until the test ends.
func (h *host) copied() (*mem.Store, *hostlink.Copy) {
	h.t.Helper()
	kept := mem.New()
	c, err := hostlink.OpenCopy(h.t.Context(), kept, h.name, slog.New(slog.DiscardHandler))
	must(h.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Follow(ctx, h.client) })
	h.t.Cleanup(func() { cancel(); running.Wait() })
	select {
	case <-c.Synced():
	case <-time.After(patience):
		h.t.Fatal("the host was never told all there is")
	}
	return kept, c
}

// keys are those of the records of a copy.
func keys(t *testing.T, s store.Store) (all []string) {
	t.Helper()
	page, err := s.List(t.Context(), store.Range{})
	must(t, err)
	for _, r := range page.Records {
		if r.Key != "copy" && !strings.HasPrefix(r.Key, "signed/") {
			all = append(all, r.Key)
		}
	}
	slices.Sort(all)
	return all
}

// untagged is what a host has, without the tag, which is another for each host.
func untagged(value []byte) string {
	return strings.Replace(string(value), `"tag":"`+records.Tag(value)+`",`, "", 1)
}

// always is a TLS that stays what it is.
func always(c *tls.Config) func() *tls.Config { return c.Clone }

// eventually waits until it holds; the store's changes come as they come.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for: " + what)
		}
	}
}

// patiently does it again until it works: on a busy machine a connection may take longer than the product waits for it.
func patiently(t testing.TB, do func() error) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("tried in vain: ", err)
		}
	}
}

// lines are the messages of a stream.
func (h *host) lines(q hostlink.FollowRequest) (lines iter.Seq[hostlink.Message], end func(), err error) {
	h.t.Helper()
	text, err := json.Marshal(q)
	must(h.t, err)
	resp, err := h.http.Post("https://"+h.address+hostlink.PathFollow, "application/json", bytes.NewReader(text))
	must(h.t, err)
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		answer, err := io.ReadAll(resp.Body)
		must(h.t, err)
		return nil, nil, errors.New(string(answer))
	}
	d := json.NewDecoder(resp.Body)
	return func(yield func(hostlink.Message) bool) {
		for {
			var m hostlink.Message
			if d.Decode(&m) != nil || !yield(m) {
				return
			}
		}
	}, func() { _ = resp.Body.Close() }, nil
}
