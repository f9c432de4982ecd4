package hostlink

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// How long a replica may take to be connected to, and to answer a request, if nobody says.
const (
	dialTime   = 3 * time.Second
	answerTime = 10 * time.Second
)

// Errors of what a replica refuses.
var (
	// ErrNotServed means that it is not this host's, or not there.
	ErrNotServed = errors.New("the replica says that this host does not serve it")
	// ErrEvicted means that this host is none any more.
	ErrEvicted = errors.New("this host was evicted; enroll it again")
	// ErrRefused means that it does not know this host, or not any more; to strangers it does not say why.
	ErrRefused = errors.New("refuses")
)

// Config is what a [Client] works with.
type Config struct {
	// TLS makes the connections, by the certificate that the host has then.
	TLS func() *tls.Config
	// Replicas are their addresses, as host:port; any of them will do.
	Replicas []string
	// Process is the id of this process, and Program the version of the agent.
	Process, Program string
	// Dial makes the connections that TLS goes over; nil: as a [net.Dialer] does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// DialTime is how long a replica may take to be connected to, and AnswerTime to answer a request; 0: 3 seconds, and 10.
	DialTime, AnswerTime time.Duration
	Log                  *slog.Logger
}

// Client calls the replicas: one of them as long as it answers, then another.
type Client struct {
	cfg Config

	mu      sync.Mutex
	http    *http.Client
	at      int // which replica
	evicted chan struct{}
	renewed chan struct{} // closed and replaced at each [Client.Renewed]
}

// NewClient makes a client; it connects when there is something to say.
func NewClient(cfg Config) *Client {
	cfg.DialTime, cfg.AnswerTime = cmp.Or(cfg.DialTime, dialTime), cmp.Or(cfg.AnswerTime, answerTime)
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: cfg.DialTime, KeepAlive: BeatEvery}).DialContext
	}
	c := &Client{cfg: cfg, evicted: make(chan struct{}), renewed: make(chan struct{})}
	c.http = c.connections()
	return c
}

// connections makes those of the certificate that the host has now.
func (c *Client) connections() *http.Client {
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: c.cfg.Dial, TLSClientConfig: c.cfg.TLS(), TLSHandshakeTimeout: c.cfg.DialTime, ForceAttemptHTTP2: true,
			IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 16 << 10, ResponseHeaderTimeout: c.cfg.AnswerTime,
			HTTP2: &http.HTTP2Config{SendPingTimeout: 2 * BeatEvery, PingTimeout: BeatEvery},
		},
	}
}

// Close ends the connections that nobody uses.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.http.CloseIdleConnections()
}

// Reconnect has what is asked from now on go over connections of their own, as by another certificate.
func (c *Client) Reconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.http.CloseIdleConnections()
	c.http = c.connections()
}

// Renewed has what is asked from now on, and the stream too, go over connections by the certificate that the host has by
// now: replicas end what was begun by a certificate when that ends.
func (c *Client) Renewed() {
	c.Reconnect()
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.renewed)
	c.renewed = make(chan struct{})
}

// renewal is closed at the next [Client.Renewed].
func (c *Client) renewal() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.renewed
}

// Evicted is closed once a replica has said that this host is none any more.
func (c *Client) Evicted() <-chan struct{} { return c.evicted }

func (c *Client) tellEvicted() {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.evicted:
	default:
		close(c.evicted)
	}
}

// replica is the address that is asked now.
func (c *Client) replica() (at int, address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at, c.cfg.Replicas[c.at]
}

// leave goes on to the next replica, unless somebody has done so already.
func (c *Client) leave(at int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == at {
		c.at = (at + 1) % len(c.cfg.Replicas)
	}
}

// call asks one replica after the other until one answers.
func (c *Client) call(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	for range c.cfg.Replicas {
		at, address := c.replica()
		bounded, done := context.WithTimeout(ctx, c.cfg.AnswerTime)
		var away bool
		away, err = c.ask(bounded, address, path, body, out)
		done()
		if !away || ctx.Err() != nil {
			return err
		}
		c.leave(at)
	}
	return err
}

// ask asks one replica; away says that another one may do better.
func (c *Client) ask(ctx context.Context, address, path string, body []byte, out any) (away bool, err error) {
	resp, err := c.post(ctx, address, path, body)
	if err != nil {
		return true, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody))
	if err != nil {
		return true, fmt.Errorf("the replica %s does not answer: %w", address, err)
	}
	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode >= http.StatusInternalServerError, c.refusal(address, text)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return false, fmt.Errorf("the replica %s answers what cannot be read: %w", address, err)
	}
	return false, nil
}

func (c *Client) post(ctx context.Context, address, path string, body []byte) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	c.mu.Lock()
	by := c.http
	c.mu.Unlock()
	resp, err := by.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the replica %s cannot be reached: %w", address, errors.Unwrap(err))
	}
	return resp, nil
}

// refusal is the error that a replica has answered with.
func (c *Client) refusal(address string, text []byte) error {
	var e ErrorAnswer
	if err := json.Unmarshal(text, &e); err != nil || e.Code == "" {
		return fmt.Errorf("the replica %s refuses, and does not say why", address)
	}
	switch e.Code {
	case CodeNotServed:
		return ErrNotServed
	case CodeNoLease:
		return store.ErrNoLease
	case CodeInUse:
		return openimds.Errorf(openimds.OperationFailure, openimds.InUse, "Another process says that it is this host; give each host a certificate of its own")
	case CodeEvicted:
		c.tellEvicted()
		return ErrEvicted
	case CodeRefused:
		c.Reconnect() // the certificate may be another one by now
		return fmt.Errorf("the replica %s %w, and its log says why", address, ErrRefused)
	}
	return fmt.Errorf("the replica %s refuses: %.200s (%.40s)", address, e.Message, e.Code)
}

// Redeem asks for a certificate by a join token; see hostcert.Join.
func (c *Client) Redeem(ctx context.Context, token openimds.JoinToken, request []byte) ([]byte, error) {
	var a CertificateAnswer
	err := c.call(ctx, PathRedeem, RedeemRequest{token, request}, &a)
	return a.Certificate, err
}

// Renew asks for another certificate; see hostcert.Identity.
func (c *Client) Renew(ctx context.Context, request []byte) ([]byte, error) {
	var a CertificateAnswer
	err := c.call(ctx, PathRenew, RenewRequest{request}, &a)
	return a.Certificate, err
}
