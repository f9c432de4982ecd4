package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/server"
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
	f.StringVar(&c.endpoint, "endpoint", "", "`URL` of the control API (default: $AWS_ENDPOINT_URL_LIGHTSAIL, else where the server of the data directory is, else http://"+defaultAPIListen+")")
	f.StringVar(&c.profile, "profile", "", "AWS `profile` to sign with (default: the server's own key, whatever AWS's settings say)")
	f.StringVar(&c.region, "region", "", "region to sign for (default: the server's; with --profile its own, else "+defaultRegion+")")
	f.StringVar(&c.dataDir, "data-dir", "", "where the server keeps its data, for its credentials and its address")
	f.StringVar(&c.ca, "api-ca", "", "`file` with the certificates (PEM) to know the control API by (default: what the server of the data directory has said, else $AWS_CA_BUNDLE, else the system's)")
	f.StringVarP(&c.output, "output", "o", "table", "form of the output: table or json")
}

func (c *clientConfig) checkOutput() error {
	if c.output != "table" && c.output != "json" {
		return usagef("--output must be table or json, not %q", c.output)
	}
	return nil
}

// open finds endpoint, region and credentials.
func (c *clientConfig) open(ctx context.Context) (*client.Client, error) {
	return c.openTo(ctx, client.ServiceLightsail, c.location().url, 0)
}

// amazon stands for Amazon's endpoint in the region that is found.
const amazon = "https://lightsail.amazonaws.com"

// openTo is open for a given service and endpoint, whose requests are sent so often at most (0: as usual).
func (c *clientConfig) openTo(ctx context.Context, service, endpoint string, attempts int) (*client.Client, error) {
	if err := c.checkOutput(); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(endpoint, "http://") && !strings.HasPrefix(endpoint, "https://") {
		return nil, usagef("--endpoint %q is not a URL; write it as http://host:port", endpoint)
	}
	search := credentials.Search{Profile: c.profile, Region: c.region, DefaultRegion: defaultRegion}
	if c.profile == "" {
		own, err := c.ownKeys(endpoint)
		if err != nil {
			return nil, err
		}
		if own != "" {
			// Nothing of AWS's configuration, which speaks of AWS: neither its profiles nor its region.
			search.Profile, search.ConfigFiles, search.CredentialsFiles = accesskeys.DefaultProfile, []string{}, []string{own}
			if search.Region == "" {
				search.Region = ownRegion(own)
			}
		}
	}
	loaded, err := credentials.Find(ctx, search)
	if err != nil {
		err = fmt.Errorf("no credentials to sign with: %w", err)
		if own, _ := (&clientConfig{dataDir: c.dataDir}).ownKeys(endpoint); c.profile != "" && own != "" {
			err = fmt.Errorf("%w; without --profile the key of %s is used", err, own)
		}
		return nil, err
	}
	speaks, err := c.httpClient(endpoint, loaded.HTTPClient)
	if err != nil {
		return nil, err
	}
	if endpoint == amazon {
		endpoint = ""
	}
	api, err := client.New(client.Config{
		Service: service, Endpoint: endpoint, Region: loaded.Region, Credentials: bySignals(loaded.Credentials), HTTP: speaks, Attempts: attempts,
		Insecure: true, // a server that others reach in the clear was told by --api-insecure that the network is safe
	})
	if err != nil {
		return nil, usagef("--endpoint: %w", err)
	}
	return api, nil
}

// ownKeys is the credentials file of an openimds server that the endpoint may be: that of the data directory,
// or of another one where 'openimds env' was evaluated. Empty: AWS's configuration says what to sign with. It
// does so for Amazon, whom a server's key tells nothing; for other machines, if it names credentials or no server
// of this user has ever run.
func (c *clientConfig) ownKeys(endpoint string) (string, error) {
	file := os.Getenv("AWS_SHARED_CREDENTIALS_FILE")
	evaluated := c.dataDir == "" && server.RegionBeside(file) != ""
	named := c.dataDir == "" && slices.ContainsFunc(namesCredentials, func(name string) bool { return os.Getenv(name) != "" })
	at := c.location()
	elsewhere := c.dataDir == "" && !isHere(endpoint) && (at.file == "" || at.url != endpoint)
	switch {
	case evaluated && isAmazon(endpoint):
		return "", fmt.Errorf("no credentials for %s: AWS_SHARED_CREDENTIALS_FILE has the key of an openimds server; evaluate 'openimds env --unset' first", endpoint)
	case evaluated:
		return filepath.Join(filepath.Dir(file), credentialsFile), nil
	case elsewhere && (named || isAmazon(endpoint)):
		return "", nil
	}
	dir := c.dataDir
	if dir == "" {
		var err error
		if dir, err = defaultDataDir(); err != nil {
			return "", err
		}
	}
	own := filepath.Join(dir, credentialsFile)
	if _, err := os.Stat(own); err != nil {
		if named || elsewhere {
			return "", nil
		}
		return "", fmt.Errorf("no credentials: %w; start 'openimds serve' first, or name a --profile or --data-dir", err)
	}
	return own, nil
}

// namesCredentials are the variables by which AWS's configuration names credentials.
var namesCredentials = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SHARED_CREDENTIALS_FILE", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
}

// isAmazon says whether a URL is of AWS.
func isAmazon(endpoint string) bool {
	at, err := url.Parse(endpoint)
	return err == nil && strings.HasSuffix(strings.ToLower(strings.TrimSuffix(at.Hostname(), ".")), ".amazonaws.com")
}

// ownRegion is that of the server whose credentials file it is.
func ownRegion(file string) string {
	if region := server.RegionBeside(file); region != "" {
		return region
	}
	return defaultRegion // a server of an earlier version has not written it down
}

// isHere says whether a URL is of this machine.
func isHere(endpoint string) bool {
	at, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(at.Hostname())
	return at.Hostname() == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// httpClient makes the client of the control API from the SDK's, which knows AWS_CA_BUNDLE and the profile's
// ca_bundle if a profile was read. A server that says where it is says by what it is known.
func (c *clientConfig) httpClient(endpoint string, sdk aws.HTTPClient) (*http.Client, error) {
	known, ok := sdk.(*awshttp.BuildableClient)
	if !ok {
		known = awshttp.NewBuildableClient()
	}
	transport := known.GetTransport()
	transport.DisableKeepAlives = false
	ca, where := c.ca, "--api-ca"
	at := c.location()
	if at.file != "" && at.url == endpoint {
		transport.Proxy = nil // it is on this machine, which a proxy may not reach
	}
	if ca == "" && c.profile == "" && at.url == endpoint {
		ca, where = at.ca, at.file
	}
	if ca == "" && c.profile == "" && strings.HasPrefix(endpoint, "https://") {
		ca, where = os.Getenv("AWS_CA_BUNDLE"), "AWS_CA_BUNDLE"
	}
	if ca != "" {
		text, err := readFile(ca, maxPEMFile)
		if err != nil {
			return nil, usagef("%s: %w", where, err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, usagef("%s: %s has no certificate in PEM", where, ca)
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
func advised(cmd *cobra.Command, err error) error {
	if refused, ok := errors.AsType[*client.Error](err); ok {
		return refusedFor(cmd, refused, err)
	}
	lost, ok := errors.AsType[*client.Unreachable](err)
	switch {
	case !ok || lost.Broken():
		return err
	case lost.UnknownCertificate():
		return fmt.Errorf("%w; name the CA's file with --api-ca or AWS_CA_BUNDLE", err)
	}
	c := clientConfig{dataDir: flagValue(cmd, "data-dir"), endpoint: flagValue(cmd, "endpoint")}
	if file := c.location().file; file != "" {
		return fmt.Errorf("%w; %s says that the server of this data directory was there: start it with 'openimds serve', or name another --endpoint", err, file)
	}
	return fmt.Errorf("%w; is 'openimds serve' running, and is --endpoint right?", err)
}

// flagValue is what a command is told by a flag; empty: nothing, or it has no such flag.
func flagValue(cmd *cobra.Command, name string) string {
	if f := cmd.Flag(name); f != nil {
		return f.Value.String()
	}
	return ""
}

// refusedFor says what is right instead: the region or the key of the server of the data directory, if it can be
// the one that refuses, or an instance that there is.
func refusedFor(cmd *cobra.Command, refused *client.Error, err error) error {
	flag := func(name string) string { return flagValue(cmd, name) }
	c := clientConfig{dataDir: flag("data-dir"), endpoint: flag("endpoint")}
	own, _ := c.ownKeys(c.location().url)
	switch {
	case strings.Contains(refused.Message, "scoped to a valid region") && own != "":
		return fmt.Errorf("%w (%s)", err, rightRegion(cmd, ownRegions(cmd, own)))
	case strings.Contains(refused.Message, "scoped to a valid region"):
		return fmt.Errorf("%w (name the server's region with --region)", err)
	case refused.Exception == "UnrecognizedClientException" && flag("profile") != "" && own != "":
		return fmt.Errorf("%w (without --profile the key of %s is used)", err, own)
	case refused.Exception == "UnrecognizedClientException" && flag("profile") == "":
		return fmt.Errorf("%w (name the server's data directory with --data-dir, or a --profile with a key of it)", err)
	}
	if meant := didYouMeanInstance(cmd, refused); meant != "" {
		return fmt.Errorf("%w%s", err, meant)
	}
	return err
}

// rightRegion says what to sign for at a server that has these regions.
func rightRegion(cmd *cobra.Command, regions []string) string {
	has, that := "the server's region is "+regions[0], "that"
	if len(regions) > 1 {
		has, that = "the server's regions are "+strings.Join(regions, ", "), "one of them"
	}
	switch profile := flagValue(cmd, "profile"); {
	case profile == "":
		return has + ": leave --region out, or name " + that
	case flagValue(cmd, "region") != "":
		return has + ": name " + that
	default:
		return "with --profile " + profile + " that is signed for, and " + has + ": add --region " + strings.Join(regions, " or --region ")
	}
}

// ownRegions are those of the server whose credentials file it is: all of them if it answers, else its first one.
func ownRegions(cmd *cobra.Command, file string) []string {
	ctx, done := context.WithTimeout(context.Background(), namesTime)
	defer done()
	c := clientConfig{dataDir: flagValue(cmd, "data-dir"), endpoint: flagValue(cmd, "endpoint"), ca: flagValue(cmd, "api-ca"), output: "json"}
	if api, err := c.open(ctx); err == nil {
		if regions, err := controlRegions(ctx, api); err == nil && len(regions) > 0 {
			return regions
		}
	}
	return []string{ownRegion(file)}
}

// change makes a change, and shows what it made.
func change[Q any, R wire.Changed](cmd *cobra.Command, c *clientConfig, api *client.Client, target wire.Target[Q, R], in Q) error {
	answer, err := client.Call(cmd.Context(), api, target, in)
	if err != nil {
		return err
	}
	made, err := ended(cmd, api, answer.Made())
	if shown := c.showMade(cmd, made); err == nil {
		err = shown
	}
	return err
}

func (c *clientConfig) showMade(cmd *cobra.Command, made []wire.Operation) error {
	return c.show(cmd.OutOrStdout(), made, func(row func(...any)) {
		for _, op := range made {
			row(op.ResourceName, op.OperationType, op.Status, op.OperationDetails)
		}
	})
}

// tell shows what changes make, one by one, as they are made; as JSON a line each time, as of what is watched.
func (c *clientConfig) tell(cmd *cobra.Command) func(wire.Operation) error {
	return func(op wire.Operation) error {
		if c.output == "json" {
			return showLine(cmd.OutOrStdout(), op)
		}
		return c.showMade(cmd, []wire.Operation{op})
	}
}

// gather is [clientConfig.tell] for a command that ends with its changes: as JSON they are one text, however
// many there are. end shows that, and returns err, which the changes ended with, before any error of its own.
func (c *clientConfig) gather(cmd *cobra.Command) (tell func(wire.Operation) error, end func(err error) error) {
	if c.output != "json" {
		return c.tell(cmd), func(err error) error { return err }
	}
	made := []wire.Operation{}
	tell = func(op wire.Operation) error {
		made = append(made, op)
		return nil
	}
	return tell, func(err error) error {
		if err != nil && len(made) == 0 {
			return err
		}
		if shown := c.showMade(cmd, made); err == nil {
			err = shown
		}
		return err
	}
}

// changeEach makes a change of each of the instances named, whatever becomes of the others.
func changeEach[Q any, R wire.Changed](cmd *cobra.Command, c *clientConfig, names []string, target wire.Target[Q, R], of func(name string) Q) error {
	api, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	tell, end := c.gather(cmd)
	if cmd.Flags().Lookup(noWait) != nil {
		tell, end = whenEnded(cmd, api, tell, end)
	}
	return end(forEach(cmd, names, func(name string) error {
		answer, err := client.Call(cmd.Context(), api, target, of(name))
		if err != nil {
			return err
		}
		for _, op := range answer.Made() {
			if err := tell(op); err != nil {
				return err
			}
		}
		return nil
	}))
}
