package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/openimds/openimds/credentials"
	"github.com/spf13/cobra"
)

// Target prefixes of the two halves of the control API: Lightsail's own operations, and those that
// Lightsail has no operation for.
const (
	targetLightsail = "Lightsail_20161128."
	targetOpenIMDS  = "OpenIMDS_20261122."
)

// clientConfig says which control API to speak to and as whom, as in the AWS CLI.
type clientConfig struct {
	endpoint string
	profile  string
	region   string
	dataDir  string
	output   string
	ca       string
}

func (c *clientConfig) addFlags(cmd *cobra.Command) {
	f := cmd.PersistentFlags()
	f.StringVar(&c.endpoint, "endpoint", "", "`URL` of the control API (default: $AWS_ENDPOINT_URL_LIGHTSAIL, else http://"+defaultAPIListen+")")
	f.StringVar(&c.profile, "profile", "", "AWS `profile` to sign with (default: the server's own credentials file)")
	f.StringVar(&c.region, "region", "", "region to sign for (default: the profile's, else "+defaultRegion+")")
	f.StringVar(&c.dataDir, "data-dir", "", "where the server keeps its data, for its credentials file")
	f.StringVar(&c.ca, "api-ca", "", "`file` with the certificates (PEM) to know the control API by (default: $AWS_CA_BUNDLE, else the system's)")
	f.StringVarP(&c.output, "output", "o", "table", "form of the output: table or json")
}

func (c *clientConfig) checkOutput() error {
	if c.output != "table" && c.output != "json" {
		return usagef("--output must be table or json, not %q", c.output)
	}
	return nil
}

// client calls the control API. It speaks Lightsail's protocol, so AWS itself can be at the other end.
type client struct {
	endpoint    string
	region      string
	credentials aws.CredentialsProvider
	http        *http.Client

	mu   sync.Mutex
	held aws.Credentials // what was fetched last
}

// open finds endpoint, region and credentials. The server's own credentials file is used unless a
// profile is named or the environment names a file or keys.
func (c *clientConfig) open(ctx context.Context) (*client, error) {
	if err := c.checkOutput(); err != nil {
		return nil, err
	}
	endpoint := c.endpoint
	if endpoint == "" {
		endpoint = os.Getenv("AWS_ENDPOINT_URL_LIGHTSAIL")
	}
	if endpoint == "" {
		endpoint = "http://" + defaultAPIListen
	}
	if !strings.HasPrefix(endpoint, "http://") && !strings.HasPrefix(endpoint, "https://") {
		return nil, usagef("--endpoint %q is not a URL; write it as http://host:port", endpoint)
	}
	search := credentials.Search{Profile: c.profile, Region: c.region, DefaultRegion: defaultRegion}
	switch {
	case c.profile != "":
	case os.Getenv("AWS_ACCESS_KEY_ID") == "" && os.Getenv("AWS_SHARED_CREDENTIALS_FILE") == "" && os.Getenv("AWS_PROFILE") == "":
		dir := c.dataDir
		if dir == "" {
			var err error
			if dir, err = defaultDataDir(); err != nil {
				return nil, err
			}
		}
		file := filepath.Join(dir, credentialsFile)
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("no credentials: %w; start 'openimds serve' first, or name a --profile or --data-dir", err)
		}
		search.CredentialsFiles = []string{file}
	}
	loaded, err := credentials.Find(ctx, search)
	if err != nil {
		return nil, fmt.Errorf("no credentials to sign with: %w", err)
	}
	speaks, err := c.httpClient(loaded.HTTPClient)
	if err != nil {
		return nil, err
	}
	return &client{
		endpoint:    strings.TrimSuffix(endpoint, "/") + "/",
		region:      loaded.Region,
		credentials: loaded.Credentials,
		http:        speaks,
	}, nil
}

// httpClient makes the client of the control API from the SDK's, which knows AWS_CA_BUNDLE and the
// profile's ca_bundle.
func (c *clientConfig) httpClient(sdk aws.HTTPClient) (*http.Client, error) {
	known, ok := sdk.(*awshttp.BuildableClient)
	if !ok {
		known = awshttp.NewBuildableClient()
	}
	transport := known.GetTransport()
	transport.DisableKeepAlives = false
	if c.ca != "" {
		text, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, usagef("--api-ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, usagef("--api-ca: %s has no certificate in PEM", c.ca)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &http.Client{Transport: transport, Timeout: 60 * time.Second}, nil
}

// apiError is what the control API answers instead of a result.
type apiError struct {
	Type    string `json:"__type"`
	Message string `json:"message"`
	Upper   string `json:"Message"`
}

func (e *apiError) Error() string {
	name := e.Type[strings.LastIndexByte(e.Type, '#')+1:]
	message := e.Message
	if message == "" {
		message = e.Upper
	}
	if message == "" {
		return name
	}
	return name + ": " + message
}

// keysTime is how long a command waits for what to sign with.
const keysTime = 30 * time.Second

// keys fetches what to sign with, once for as long as it is good: a program that is run for it may take its
// time, or ask somebody. It ends when this one is interrupted.
func (c *client) keys(ctx context.Context) (aws.Credentials, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held.HasKeys() && !c.held.Expired() {
		return c.held, nil
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, done := context.WithTimeout(ctx, keysTime)
	defer done()
	keys, err := c.credentials.Retrieve(ctx)
	if err == nil {
		c.held = keys
	}
	return keys, err
}

// call carries out one operation. in is marshalled as the request; out, unless nil, takes the answer.
func (c *client) call(ctx context.Context, target string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return usagef("--endpoint: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", target)
	keys, err := c.keys(ctx)
	if err != nil {
		return fmt.Errorf("no credentials to sign with: %w", err)
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	req.Header.Set("X-Amz-Content-Sha256", hash) // so that the server knows who signed before it reads the body
	if err := v4.NewSigner().SignHTTP(ctx, keys, req, hash, "lightsail", c.region, time.Now()); err != nil {
		return fmt.Errorf("cannot sign the request: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
			return fmt.Errorf("the control API's certificate is not known here: %w; name the CA's file with --api-ca or AWS_CA_BUNDLE", errors.Unwrap(err))
		}
		return fmt.Errorf("cannot reach the control API: %w; is 'openimds serve' running, and is --endpoint right?", errors.Unwrap(err))
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("the control API's answer broke off: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var failed apiError
		if json.Unmarshal(answer, &failed) != nil || failed.Type == "" {
			return fmt.Errorf("%s answered %s; is it a Lightsail control API?", c.endpoint, resp.Status)
		}
		return &failed
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
