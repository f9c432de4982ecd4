package guestside_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials/generated"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/store/mem"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait; no test waits for it unless it fails.
const patience = 3 * time.Minute

// keeper notes what it is told, as credentials and as signer.
type keeper struct {
	generated.Source
	metadata.Signatures
	mu   sync.Mutex
	told []string
}

func (k *keeper) note(what string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = append(k.told, what)
}

func (k *keeper) Keep(in *openimds.Instance) { k.note("keep " + in.ID) }
func (k *keeper) Drop(id string)             { k.note("drop " + id) }
func (k *keeper) Forget(id string)           { k.note("forget " + id) }

func (k *keeper) has(what string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.told, what)
}

// place is a store, its rules and the guest side of the instance "web".
type place struct {
	t       *testing.T
	store   *mem.Store
	service *control.Service
	side    *guestside.Server
	keeper  *keeper
	url     string
}

// newPlace serves "web"; changes arrive only once it runs.
func newPlace(t *testing.T) *place {
	t.Helper()
	store := mem.New()
	p := &place{t: t, store: store, keeper: &keeper{}}
	p.service = control.New(store, control.Config{Region: "us-east-1", AccountID: "123456789012"})
	if _, err := p.service.EnsureInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	p.side = guestside.New(guestside.Config{Store: store, Marker: p.service, Faults: p.service, Credentials: p.keeper, Signer: p.keeper})
	if err := p.side.Seat(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	listeners, err := imds.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.url = "http://" + listeners[0].Addr().String()
	p.whileTested(func(context.Context) { p.serve(listeners[0]) })
	t.Cleanup(func() {
		if err := p.side.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *place) serve(l net.Listener) {
	if err := p.side.Serve(l, "web"); !errors.Is(err, imds.ErrServerClosed) {
		p.t.Error(err)
	}
}

func (p *place) run() { p.whileTested(p.side.Run) }

// whileTested runs do until the test ends.
func (p *place) whileTested(do func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { do(ctx) })
	p.t.Cleanup(func() { cancel(); running.Wait() })
}

func (p *place) get(path string) (int, string) {
	p.t.Helper()
	resp, err := http.Get(p.url + "/latest/" + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (p *place) settle() {
	p.t.Helper()
	ctx, done := context.WithTimeout(p.t.Context(), patience)
	defer done()
	if err := p.side.Settle(ctx, "web"); err != nil {
		p.t.Fatal(err)
	}
}

// TestSettle: after it, the very next request obeys, and the record says so.
func TestSettle(t *testing.T) {
	p := newPlace(t)
	p.run()
	for range 50 {
		for _, tokens := range []openimds.TokensMode{openimds.TokensRequired, openimds.TokensOptional} {
			want := map[openimds.TokensMode]int{openimds.TokensRequired: 401, openimds.TokensOptional: 200}[tokens]
			if _, err := p.service.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{Tokens: &tokens}); err != nil {
				t.Fatal(err)
			}
			p.settle()
			if status, _ := p.get("meta-data/ami-id"); status != want {
				t.Fatalf("tokens are %s and the status is %d", tokens, status)
			}
			if in, err := p.service.Instance(t.Context(), "web"); err != nil || in.Options.State != openimds.OptionsApplied {
				t.Fatalf("settled, and the options are %s (%v)", in.Options.State, err)
			}
		}
		data := []byte(openimds.NewUUID())
		if _, err := p.service.SetInstance(t.Context(), "web", control.InstanceUpdate{UserData: &data}); err != nil {
			t.Fatal(err)
		}
		p.settle()
		if _, got := p.get("user-data"); got != string(data) {
			t.Fatalf("settled, and the user data is %q", got)
		}
	}
}

// TestSettleWaits: without anybody who carries changes it does not return before its context ends.
func TestSettleWaits(t *testing.T) {
	p := newPlace(t)
	p.settle() // nothing has changed
	if err := p.side.Settle(t.Context(), "we"); err != nil {
		t.Errorf("of an instance that does not exist: %v", err)
	}
	changes := map[string]func() error{
		"a value": func() error {
			data := []byte("x")
			_, err := p.service.SetInstance(t.Context(), "web", control.InstanceUpdate{UserData: &data})
			return err
		},
		"an option": func() error {
			hops := 2
			_, err := p.service.UpdateOptions(t.Context(), "web", openimds.OptionsUpdate{HopLimit: &hops})
			return err
		},
	}
	for what, change := range changes {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		ctx, done := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := p.side.Settle(ctx, "web"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("settled with %s that nobody carried: %v", what, err)
		}
		done()
	}
	p.run()
	p.settle()
	if _, got := p.get("user-data"); got != "x" {
		t.Errorf("settled, and the user data is %q", got)
	}
}

// TestKept: what a guest needs beside its record is there before it asks, and given up with it.
func TestKept(t *testing.T) {
	p := newPlace(t)
	in, err := p.service.Instance(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	if !p.keeper.has("keep " + in.ID) {
		t.Fatal("the credentials were not told of the instance")
	}
	if status, _ := p.get("meta-data/iam/security-credentials/AmazonLightsailInstanceRole"); status != http.StatusOK {
		t.Errorf("role credentials have the status %d", status)
	}
	p.run()
	if _, err := p.service.DeleteInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !p.keeper.has("drop "+in.ID) || !p.keeper.has("forget "+in.ID); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("what was kept for a deleted instance was not given up: %v", p.keeper.told)
		}
	}
}

// TestBare: without credentials and signer there is just less to read.
func TestBare(t *testing.T) {
	store := mem.New()
	service := control.New(store, control.Config{Region: "us-east-1", AccountID: "123456789012"})
	if _, err := service.EnsureInstance(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	side := guestside.New(guestside.Config{Store: store, Marker: service})
	if err := side.Seat(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	listeners, err := imds.Listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, service: service, side: side, url: "http://" + listeners[0].Addr().String()}
	p.whileTested(func(context.Context) { p.serve(listeners[0]) })
	t.Cleanup(func() { _ = side.Shutdown(context.Background()) })
	for path, want := range map[string]int{"meta-data/ami-id": 200, "meta-data/iam/info": 404, "dynamic/instance-identity/pkcs7": 404} {
		if status, _ := p.get(path); status != want {
			t.Errorf("%s: status %d, not %d", path, status, want)
		}
	}
	if err := side.Agent().Unseat("web"); err != nil {
		t.Error(err)
	}
	// A client has its answer a moment before its connection is counted out.
	for deadline := time.Now().Add(patience); side.Connections("web") != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open", side.Connections("web"))
		}
	}
}
