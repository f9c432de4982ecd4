package recording

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// How the crawler behaves towards a service that guests depend on.
const (
	tokenTTL    = "300"           // seconds; a crawl that takes longer asks for another token
	maxTokens   = 20              // sessions in one crawl
	requestTime = 5 * time.Second // one request, its body included
	attempts    = 5               // of one request, while the service is busy or does not answer
	firstPause  = 100 * time.Millisecond
	maxBody     = 64 << 10
)

// Failures of a crawl that have a remedy.
var (
	// ErrNoToken means that the service gives no session token.
	ErrNoToken = errors.New("the service gives no session token")
	// ErrBadURL means that there is no service of that address to ask.
	ErrBadURL = errors.New("not the address of a metadata service")
)

var tokenForm = regexp.MustCompile(`^[!-~]{1,1000}$`)

// client asks one metadata service, at a bounded rate and for bounded answers.
type client struct {
	base    string // without a slash at its end
	agent   string
	allowV1 bool
	http    *http.Client
	ticks   *time.Ticker // of the rate
	tokens  int          // how many were asked for
	token   string       // empty: requests are of version 1
}

// answer is what the service said.
type answer struct {
	status      int
	contentType string
	modified    time.Time
	body        []byte
	tooLarge    bool
}

// parseBase checks the address of a service.
func parseBase(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("%w: %q; write it as http://169.254.169.254", ErrBadURL, address)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("%w: %q has more than scheme and host; write it as http://169.254.169.254", ErrBadURL, address)
	}
	return u.Scheme + "://" + u.Host, nil
}

func newClient(base, agent string, rate int, allowV1 bool) *client {
	return &client{
		base: base, agent: agent, allowV1: allowV1, ticks: time.NewTicker(time.Second / time.Duration(rate)),
		http: &http.Client{
			// No proxy: it would read the credentials, and a PUT through one gets no token.
			Transport: &http.Transport{
				DialContext:        (&net.Dialer{Timeout: 3 * time.Second}).DialContext,
				DisableKeepAlives:  true, // the service closes after each answer
				DisableCompression: true,
				Proxy:              nil,
			},
			// A redirect could lead anywhere, with the session token in hand.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// session asks for a token. A service without version 2 is asked without one, if that is allowed.
func (c *client) session(ctx context.Context) error {
	if c.tokens++; c.tokens > maxTokens {
		return fmt.Errorf("the service refused %d tokens that it had given", maxTokens)
	}
	c.token = ""
	a, err := c.patiently(ctx, http.MethodPut, "/latest/api/token")
	switch {
	case err != nil:
		return err
	case a.status == http.StatusOK && tokenForm.Match(a.body):
		c.token = string(a.body)
		return nil
	case c.allowV1 && (a.status == http.StatusForbidden || a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed):
		return nil
	}
	return fmt.Errorf("%w: PUT /latest/api/token answers %d", ErrNoToken, a.status)
}

// get asks for a path, with a new token if the one at hand is no longer good.
func (c *client) get(ctx context.Context, path string) (answer, error) {
	a, err := c.patiently(ctx, http.MethodGet, path)
	if err == nil && a.status == http.StatusUnauthorized {
		if err = c.session(ctx); err == nil {
			a, err = c.patiently(ctx, http.MethodGet, path)
		}
	}
	return a, err
}

// patiently makes a request, and makes it again while the service is busy.
func (c *client) patiently(ctx context.Context, method, path string) (a answer, err error) {
	for i := range attempts {
		select {
		case <-c.ticks.C:
		case <-ctx.Done():
			return a, ctx.Err()
		}
		a, err = c.once(ctx, method, path)
		busy := err != nil || a.status == http.StatusTooManyRequests || a.status >= 500
		if !busy || ctx.Err() != nil || i == attempts-1 {
			break
		}
		select {
		case <-time.After(firstPause << i):
		case <-ctx.Done():
		}
	}
	return a, err
}

func (c *client) once(ctx context.Context, method, path string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Accept", "*/*")
	switch {
	case method == http.MethodPut:
		req.Header.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", tokenTTL)
	case c.token != "":
		req.Header.Set("X-Aws-Ec2-Metadata-Token", c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the URL is said by who knows what it was for
		}
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	a := answer{status: resp.StatusCode, contentType: resp.Header.Get("Content-Type")}
	a.modified, _ = http.ParseTime(resp.Header.Get("Last-Modified")) // none is no error
	if a.status != http.StatusOK {
		return a, nil
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	a.tooLarge = len(a.body) > maxBody
	return a, err
}
