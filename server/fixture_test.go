package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
)

// patience is how long a test waits for what takes milliseconds on a machine that is not busy.
const patience = 3 * time.Minute

// Target prefixes of the two halves of the control API.
const (
	targetLightsail = "Lightsail_20161128."
	targetOpenIMDS  = "OpenIMDS_20261122."
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until it holds.
func eventually(holds func() bool) error {
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain for %v", patience)
		}
	}
	return nil
}

// forTest is a Config for a data directory and free ports.
func forTest(dir string) Config {
	cfg := Defaults()
	cfg.DataDir, cfg.IMDSListen, cfg.APIListen = dir, []string{"127.0.0.1:0"}, "127.0.0.1:0"
	cfg.TransitionTime = 0 // instances are there at once
	cfg.StopTimeout, cfg.APITimeout, cfg.seatsTime = patience, api.MaxTimeout, patience
	return cfg
}

// installation is a whole server in this process, and an operator of it.
type installation struct {
	server *Server
	client operator
	imds   string
	stop   func()
}

func newInstallation(b *testing.B) *installation {
	b.Helper()
	cfg := forTest(filepath.Join(b.TempDir(), "data"))
	cfg.GuestRate, cfg.GuestConnections = 0, 0
	return openInstallation(b, cfg)
}

// openInstallation serves until stop is called or the test ends.
func openInstallation(t testing.TB, cfg Config) *installation {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := Open(ctx, cfg)
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		s.Close()
	})
	t.Cleanup(stop)
	return &installation{s, newOperator(t, s.APIURL(), s.DataDir()), s.IMDSAddrs()[0].String(), stop}
}

// operator calls a control API with the installation's own key.
type operator struct {
	url    string
	key    aws.Credentials
	region string
}

func newOperator(t testing.TB, url, dataDir string) operator {
	t.Helper()
	file := accesskeys.Open(filepath.Join(dataDir, CredentialsFile))
	all, err := file.List()
	must(t, err)
	key, _, err := file.Lookup(all[0].ID)
	must(t, err)
	return operator{url, aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}, "us-east-1"}
}

// call carries out one operation. in is marshalled as the request; out, unless nil, takes the answer.
func (o operator) call(ctx context.Context, target string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", target)
	sum := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, o.key, r, hex.EncodeToString(sum[:]), "lightsail", o.region, time.Now()); err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, text)
	}
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(text, out)
}

// exchange sends a request and returns the whole answer.
func exchange(t testing.TB, addr, request string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	must(t, err)
	defer func() { _ = c.Close() }()
	must(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(c, request)
	must(t, err)
	answer, err := io.ReadAll(c)
	must(t, err)
	return string(answer)
}

// readAudit is the audit log as it is now.
func readAudit(t testing.TB, i *installation) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(i.server.DataDir(), auditFile))
	must(t, err)
	return string(text)
}

// lockedBuffer is a log that many goroutines write.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
