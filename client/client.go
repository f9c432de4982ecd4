// Package client calls the control API of an openimds server, or Amazon Lightsail itself: both speak
// the operations of package wire, but for those that Lightsail does not have.
//
//	c, err := client.New(client.Config{Region: "eu-west-1", Credentials: keys})
//	answer, err := client.Call(ctx, c, wire.GetInstance, wire.GetInstanceRequest{InstanceName: "web"})
//	for page, err := range client.Pages(ctx, c, wire.GetInstances, wire.GetInstancesRequest{}) { … }
//
// Clients of EC2's API and CloudWatch's, of both places alike, are made with [Config.Service] and called by [EC2] and
// [CloudWatch].
//
// What fails in a way that may pass is tried again, as long as nothing can happen twice by it. No error
// repeats a request or a secret.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/openimds/openimds/api/lightsail/wire"
)

// Config says which control API to speak to, and as whom.
type Config struct {
	// Service is whose API it is, as requests are signed: [ServiceLightsail], [ServiceEC2] or [ServiceCloudWatch];
	// empty: Lightsail's.
	Service string
	// Endpoint is the URL of the API; empty: AWS's for the service in Region.
	Endpoint string
	// Region is what requests are signed for.
	Region string
	// Credentials are asked when keys are needed, for 30 s at most, and not again while these hold.
	Credentials aws.CredentialsProvider
	// HTTP sends the requests; nil: one that waits 60 s for an answer. It follows no redirection: a
	// signature is for one host.
	HTTP *http.Client
	// Insecure lets the API be on another machine without TLS, where whoever is on the way reads user data
	// and private keys, and can send a request once more.
	Insecure bool
	// Attempts is how often a request is sent at most where another attempt can help and nothing can happen
	// twice; 0: 3 times.
	Attempts int
}

// The services whose APIs can be called.
const (
	ServiceLightsail  = "lightsail"
	ServiceEC2        = "ec2"
	ServiceCloudWatch = "monitoring"
)

// Client calls a control API. It is safe for use by many goroutines.
type Client struct {
	service  string
	endpoint string
	region   string
	http     *http.Client
	keys     keys
	attempts int
}

// answerTime is how long an answer is waited for, unless the caller brings a client of HTTP.
const answerTime = 60 * time.Second

// New makes a client. It fails where the configuration cannot be used, and sends nothing.
func New(cfg Config) (*Client, error) {
	if cfg.Region == "" {
		return nil, fmt.Errorf("no region to sign requests for is given")
	}
	if cfg.Credentials == nil {
		return nil, fmt.Errorf("no credentials to sign with are given")
	}
	cfg.Service = cmp.Or(cfg.Service, ServiceLightsail)
	if cfg.Endpoint == "" {
		cfg.Endpoint = "https://" + cfg.Service + "." + cfg.Region + ".amazonaws.com"
	}
	at, err := url.Parse(cfg.Endpoint)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of a control API; write it as http://host:port", cfg.Endpoint)
	}
	if at.Scheme == "http" && !cfg.Insecure && !isHere(at.Hostname()) {
		return nil, fmt.Errorf("%s is another machine's, where plain HTTP can be read on the way: use https", cfg.Endpoint)
	}
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{Timeout: answerTime}
	}
	speaks := *cfg.HTTP
	speaks.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		service: cfg.Service, endpoint: strings.TrimSuffix(cfg.Endpoint, "/") + "/", region: cfg.Region, http: &speaks,
		keys: keys{from: cfg.Credentials}, attempts: cmp.Or(cfg.Attempts, defaultAttempts),
	}, nil
}

// isHere says whether a host's name stands for this machine without anybody being asked.
func isHere(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// Region is what requests are signed for.
func (c *Client) Region() string { return c.region }

// CloseIdleConnections ends the connections that are kept for the next call.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// Call carries out one operation. A refusal is an [*Error], no answer an [*Unreachable]. After an
// Unreachable an operation that changes something may have been carried out, unless nothing was sent.
func Call[Q, R any](ctx context.Context, c *Client, target wire.Target[Q, R], in Q) (R, error) {
	var out R
	body, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	return out, c.ask(ctx, message{ServiceLightsail, target.Name, target.Changes, "application/x-amz-json-1.1", body}, json.Unmarshal, &out)
}

// message is a request of an API in its form.
type message struct {
	service string
	// name is of the operation, as the form has it in X-Amz-Target; forms that have it in the body have it here for
	// errors only.
	name    string
	changes bool
	media   string
	body    []byte
}

// ask sends a message and reads its answer.
func (c *Client) ask(ctx context.Context, m message, read func([]byte, any) error, out any) error {
	if m.service != c.service {
		return fmt.Errorf("%s is an operation of %s, and the client is of %s", m.name, m.service, c.service)
	}
	answer, err := c.persist(ctx, m)
	if err != nil {
		return err
	}
	if err := read(answer, out); err != nil {
		return fmt.Errorf("the answer of %s to %s cannot be read: %w", c.endpoint, m.name, err)
	}
	return nil
}

// maxAnswer is the most bytes of an answer that are read.
const maxAnswer = 64 << 20

// send makes one attempt.
func (c *Client) send(ctx context.Context, m message) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(m.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", m.media)
	if m.media != mediaForm {
		req.Header.Set("X-Amz-Target", m.name)
	}
	signing, err := c.keys.get(ctx)
	if err != nil {
		return nil, fmt.Errorf("no credentials to sign with: %w", err)
	}
	sum := sha256.Sum256(m.body)
	hash := hex.EncodeToString(sum[:])
	req.Header.Set("X-Amz-Content-Sha256", hash) // so that the server knows who signed before it reads the body
	if err := v4.NewSigner().SignHTTP(ctx, signing, req, hash, c.service, c.region, time.Now()); err != nil {
		return nil, fmt.Errorf("cannot sign the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("it has more than %d bytes", maxAnswer)
	}
	if err != nil {
		return nil, &Unreachable{Err: err, broken: true}
	}
	if resp.StatusCode != http.StatusOK {
		return nil, refusal(c.service, c.endpoint, resp, answer)
	}
	return answer, nil
}

// keysTime is how long what to sign with is waited for.
const keysTime = 30 * time.Second

// keys holds what was fetched last: a program that is run for it may take its time, or ask somebody. The
// SDK's own cache would keep a context's end from it.
type keys struct {
	from aws.CredentialsProvider

	mu   sync.Mutex
	held aws.Credentials
}

func (k *keys) get(ctx context.Context) (aws.Credentials, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held.HasKeys() && !k.held.Expired() {
		return k.held, nil
	}
	ctx, done := context.WithTimeout(ctx, keysTime)
	defer done()
	fetched, err := k.from.Retrieve(ctx)
	if err == nil {
		k.held = fetched
	}
	return fetched, err
}
