package attach_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/attach"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/store/storetest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// network stands for the host's network: it finds the same link for whatever is not bound, and keeps what
// it was set to.
type network struct {
	attachments *attach.Attachments
	link        hostnet.Face

	mu   sync.Mutex
	sets []hostnet.Endpoint // the only endpoint, as it was set each time
}

func (n *network) Set(endpoints []hostnet.Endpoint) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range endpoints {
		n.sets = append(n.sets, e)
		status := hostnet.EndpointStatus{Endpoint: e, State: hostnet.Attached}
		switch {
		case e.ByName:
		case e.Bound == nil:
			status.State, status.Reason = hostnet.Waiting, "it is being bound"
			n.attachments.Bind(e.ID, n.link)
		case *e.Bound != n.link:
			found := n.link
			status.State, status.Reason, status.Found = hostnet.Waiting, "interface tap0 is not the one it was", &found
		}
		n.attachments.Changed(status)
	}
	return nil
}

// seats note the revisions that they were waited for.
type seats struct {
	mu      sync.Mutex
	awaited map[string]int64
}

func (*seats) SeatAll(context.Context, []string) error { return nil }
func (*seats) Unseat(string) error                     { return nil }

func (s *seats) Await(_ context.Context, name string, revision int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.awaited[name] = revision
	return nil
}

// attaching is a host whose attachments are followed, with a service that attaches.
type attaching struct {
	t       *testing.T
	service *control.Service
	lease   store.Lease
	log     *lockedText
	network *network
	seats   *seats
}

func newAttaching(t *testing.T) *attaching {
	kept := storetest.Lasting(mem.New())
	a := &attaching{t: t, log: &lockedText{}, network: &network{link: hostnet.Face{Boot: "b", Index: 7, Serial: 100}}, seats: &seats{awaited: map[string]int64{}}}
	a.network.attachments = attach.New(attach.Config{
		Store: kept, Binder: binder{&a.service}, Seats: a.seats, Host: a.network, Report: a.report, Log: slog.New(slog.NewTextHandler(a.log, nil)),
	})
	a.service = control.New(kept, control.Config{
		Region: "us-east-1", AccountID: "123456789012", Attachments: carrier{},
	})
	_, err := a.service.CreateInstances(t.Context(), control.InstancesLaunch{
		Names: []string{"web"}, Zone: "us-east-1a", BlueprintID: "ubuntu_24_04", BundleID: "nano_3_0",
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.lease, err = a.service.JoinHost(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *attaching) report(ctx context.Context, all []openimds.AttachmentStatus) error {
	return a.service.ReportAttachments(ctx, a.lease, all)
}

// told is how far anybody who asks the service is told that the attachment is.
func (a *attaching) told() openimds.AttachmentStatus {
	a.t.Helper()
	all, err := a.service.Attachments(a.t.Context())
	if err != nil || len(all) != 1 {
		a.t.Fatal(all, err)
	}
	statuses, err := a.service.AttachmentStatuses(a.t.Context(), all)
	if err != nil {
		a.t.Fatal(err)
	}
	return statuses[0]
}

// binder is a service that is made later.
type binder struct{ service **control.Service }

func (b binder) BindAttachments(ctx context.Context, all []openimds.Binding) error {
	return (*b.service).BindAttachments(ctx, all)
}

// carrier carries attachments out on a host where nothing is guarded.
type carrier struct{}

func (carrier) Guarded() []openimds.GuardedPlace                  { return nil }
func (carrier) Release([]string) ([]openimds.GuardedPlace, error) { return nil, nil }

func (carrier) Status(string, time.Time) (openimds.AttachmentStatus, bool) {
	return openimds.AttachmentStatus{}, false
}

func (a *attaching) follow() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.network.attachments.Run(ctx); close(done) }()
	a.t.Cleanup(func() { cancel(); <-done })
}

func (a *attaching) attach(attachment openimds.Attachment) {
	a.t.Helper()
	attachment.Instance, attachment.Interface = "web", "tap0"
	if _, err := a.service.AttachInstance(a.t.Context(), attachment); err != nil {
		a.t.Fatal(err)
	}
}

func (a *attaching) becomes(want string) (reason string) {
	a.t.Helper()
	eventually(a.t, "the attachment is "+want, func() bool {
		var state string
		state, reason = a.network.attachments.Status("web")
		return state == want && !strings.Contains(reason, "being")
	})
	eventually(a.t, "the store says so", func() bool { s := a.told(); return s.State == want && s.Reason == reason })
	told := a.told()
	eventually(a.t, "the host says so of this attachment", func() bool {
		own, known := a.network.attachments.Known("web", told.CreatedAt)
		return known && own.State == want && own.Reason == reason
	})
	if own, known := a.network.attachments.Known("web", told.CreatedAt.Add(-1)); known {
		a.t.Errorf("an earlier attachment is known as %+v", own)
	}
	return reason
}

func (a *attaching) tokenKey() string {
	a.t.Helper()
	in, err := a.service.Instance(a.t.Context(), "web")
	if err != nil {
		a.t.Fatal(err)
	}
	return string(in.TokenKey)
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !is(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// lockedText is a log that can be read while it is written.
type lockedText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestBindsBeforeAnswering: what the host finds is in the store before the host is told to answer there, and
// the next server is told of it from the start.
func TestBindsBeforeAnswering(t *testing.T) {
	a := newAttaching(t)
	a.attach(openimds.Attachment{})
	a.follow()
	a.becomes("attached")
	<-a.network.attachments.Settled()
	all, err := a.service.Attachments(t.Context())
	if err != nil || len(all) != 1 || all[0].Bound == nil || hostnet.Face(*all[0].Bound) != a.network.link {
		t.Fatalf("the store has %+v, %v", all, err)
	}
	a.network.mu.Lock()
	first, last := a.network.sets[0], a.network.sets[len(a.network.sets)-1]
	a.network.mu.Unlock()
	if first.Bound != nil || last.Bound == nil || first.ID != last.ID {
		t.Errorf("set first to %+v and last to %+v", first, last)
	}
}

// TestTellsOfAnother: another link is told of in the status and the log; attached again it is taken, not
// before the instance has its new token key.
func TestTellsOfAnother(t *testing.T) {
	a := newAttaching(t)
	a.follow()
	a.attach(openimds.Attachment{})
	a.becomes("attached")
	key := a.tokenKey()
	a.network.mu.Lock()
	a.network.link = hostnet.Face{Boot: "b", Index: 8, Serial: 101}
	a.network.mu.Unlock()
	hops := 2 // no news of attachments
	if _, err := a.service.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{HopLimit: &hops}); err != nil {
		t.Fatal(err)
	}
	a.attach(openimds.Attachment{ByName: true})
	a.becomes("attached")
	a.attach(openimds.Attachment{}) // bound anew, to the other one
	eventually(t, "another guest has another token key", func() bool { return a.tokenKey() != key })
	a.becomes("attached")
	a.network.mu.Lock()
	a.network.link = hostnet.Face{Boot: "b", Index: 9, Serial: 102}
	wanted := a.network.sets[len(a.network.sets)-1]
	a.network.mu.Unlock()
	_ = a.network.Set([]hostnet.Endpoint{wanted}) // the host sees it
	if reason := a.becomes("waiting"); !strings.Contains(reason, "is not the one it was") || !strings.Contains(reason, "attach it again") {
		t.Errorf("the reason is %q", reason)
	}
	if found := a.told().Found; found == nil || found.Index != 9 {
		t.Errorf("found %+v", found)
	}
	if states := a.network.attachments.States(); states["replaced"] != 1 || states["attached"] != 0 {
		t.Errorf("counted as %v", states)
	}
	if text := a.log.String(); !strings.Contains(text, "something else is where an instance is attached") {
		t.Errorf("the log has no word of it: %s", text)
	}
	key = a.tokenKey()
	a.attach(openimds.Attachment{})
	a.becomes("attached")
	if now := a.tokenKey(); now == key {
		t.Error("another guest has the former one's token key")
	}
	a.seats.mu.Lock()
	defer a.seats.mu.Unlock()
	if a.seats.awaited["web"] == 0 {
		t.Error("nobody waited for the new token key")
	}
}
