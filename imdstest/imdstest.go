package imdstest

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/identity"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// patience bounds what takes microseconds on a machine that works.
const patience = 30 * time.Second

// TB is what this package needs of a test: *testing.T, *testing.B and *testing.F have it.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
	Setenv(key, value string)
}

// Server is the metadata service of one instance, on an address of this machine.
type Server struct {
	// URL is where it answers, like "http://127.0.0.1:41234". Paths go on with a slash:
	// URL + "/latest/meta-data/".
	URL string

	t           TB
	name        string
	service     *control.Service
	side        *guestside.Server
	credentials roleCredentials
	signer      *identity.LateSigner
	stop        func()

	mu       sync.Mutex
	observer *imds.Observer
	requests []Request
	ec2      *EC2 // nil: nobody has asked for it
}

// New starts a metadata service and lets the test's own process be on the instance: AWS's SDKs find
// the service by themselves, and credentials of the developer (in the environment or in ~/.aws) are
// hidden from them. What else the test sets in the environment it sets after New.
//
// The service ends with the test. A test that calls New cannot call t.Parallel; see [Start].
func New(t TB, in Instance) *Server {
	t.Helper()
	s := Start(t, in)
	setenv(t, "AWS_EC2_METADATA_SERVICE_ENDPOINT", s.URL)
	// What the SDKs would use in place of the instance's role, or of the service itself. To them, an
	// empty value is none.
	for _, name := range []string{
		"AWS_EC2_METADATA_DISABLED",
		"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN",
		"AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	} {
		if os.Getenv(name) != "" {
			setenv(t, name, "")
		}
	}
	setenv(t, "AWS_CONFIG_FILE", os.DevNull)
	setenv(t, "AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	return s
}

// setenv says what to do about the panic of a parallel test.
func setenv(t TB, name, value string) {
	t.Helper()
	defer func() {
		t.Helper()
		if reason := recover(); reason != nil {
			t.Fatalf("imdstest.New sets the environment, which a parallel test has in common with others; call imdstest.Start and give your client its URL (%v)", reason)
		}
	}()
	t.Setenv(name, value)
}

// Start starts a metadata service and touches nothing else, so that parallel tests can have one each.
// It ends with the test.
func Start(t TB, in Instance) *Server {
	t.Helper()
	s := &Server{t: t}
	if err := s.start(in); err != nil {
		t.Fatalf("imdstest: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

func (s *Server) start(in Instance) error {
	record, err := in.record(time.Now())
	if err != nil {
		return err
	}
	if err := s.credentials.set(in.Credentials, record); err != nil {
		return err
	}
	store := mem.New()
	s.name = record.Name
	s.signer = newSigner()
	s.service = control.New(store, control.Config{Region: record.Region, AccountID: record.OwnerID})
	s.side = guestside.New(guestside.Config{
		Store: store, Marker: s.service, Faults: s.service, Credentials: &s.credentials, Signer: s.signer,
	})
	ctx := context.Background()
	if _, err := s.service.AddInstance(ctx, record); err != nil {
		return err
	}
	if err := s.side.Seat(ctx, s.name); err != nil {
		return err
	}
	listeners, err := imds.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.run(store, listeners[0])
	return nil
}

// run serves until stop is called.
func (s *Server) run(store store.Store, l net.Listener) {
	s.URL = "http://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	s.observer = s.side.Observe(s.name, nil, maxUntaken)
	var running sync.WaitGroup
	running.Go(func() { _ = s.side.Serve(l, s.name) }) // it ends at Shutdown
	running.Go(func() { s.observe(ctx) })
	running.Go(func() { s.side.Run(ctx) })
	s.stop = sync.OnceFunc(func() {
		deadline, done := context.WithTimeout(context.Background(), patience)
		defer done()
		_ = s.side.Shutdown(deadline) // who does not take its answer in that time goes without
		cancel()
		running.Wait()
		_ = store.Close()
	})
}

// Close ends the service, as an outage does: from then on nobody answers at URL. The end of the test
// closes it too. Its requests can still be read.
func (s *Server) Close() { s.stop() }
