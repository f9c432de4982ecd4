package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/credentials"
	"github.com/spf13/cobra"
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

// open finds endpoint, region and credentials. The server's own credentials file is used unless a
// profile is named or the environment names a file or keys.
func (c *clientConfig) open(ctx context.Context) (*client.Client, error) {
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
	api, err := client.New(client.Config{
		Endpoint: endpoint, Region: loaded.Region, Credentials: bySignals(loaded.Credentials), HTTP: speaks,
		Insecure: true, // a server that others reach in the clear was told by --api-insecure that the network is safe
	})
	if err != nil {
		return nil, usagef("--endpoint: %w", err)
	}
	return api, nil
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

// bySignals has keys fetched only until this program is interrupted: a program that is run for them may
// take its time, or ask somebody.
func bySignals(from aws.CredentialsProvider) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return from.Retrieve(ctx)
	})
}

// advised is an error with what to do about it, where that depends on flags of this program.
func advised(err error) error {
	lost, ok := errors.AsType[*client.Unreachable](err)
	switch {
	case !ok || lost.Broken():
		return err
	case lost.UnknownCertificate():
		return fmt.Errorf("%w; name the CA's file with --api-ca or AWS_CA_BUNDLE", err)
	}
	return fmt.Errorf("%w; is 'openimds serve' running, and is --endpoint right?", err)
}

// change makes a change, and shows what it made.
func change[Q any, R wire.Changed](cmd *cobra.Command, c *clientConfig, api *client.Client, target wire.Target[Q, R], in Q) error {
	answer, err := client.Call(cmd.Context(), api, target, in)
	if err != nil {
		return err
	}
	return c.showMade(cmd, answer.Made())
}

func (c *clientConfig) showMade(cmd *cobra.Command, made []wire.Operation) error {
	return c.show(cmd.OutOrStdout(), made, func(row func(...any)) {
		for _, op := range made {
			row(op.ResourceName, op.OperationType, op.Status)
		}
	})
}

// tell shows what changes make, one by one, as they are made.
func (c *clientConfig) tell(cmd *cobra.Command) func(wire.Operation) error {
	return func(op wire.Operation) error { return c.showMade(cmd, []wire.Operation{op}) }
}

// changeEach makes a change of each of the instances named, one after the other.
func changeEach[Q any, R wire.Changed](cmd *cobra.Command, c *clientConfig, names []string, target wire.Target[Q, R], of func(name string) Q) error {
	api, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := change(cmd, c, api, target, of(name)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
