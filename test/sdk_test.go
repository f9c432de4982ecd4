package clients

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"github.com/openimds/openimds"
)

// sighting is a request as it went over the wire, and its answer's status.
type sighting struct {
	method, path, token string
	status              int
}

// witness is an HTTP client that notes what passes, so that a test sees by which version of the
// protocol a client got its answer. spoil, if not nil, may change a request before it leaves.
type witness struct {
	transport http.Transport
	spoil     func(*http.Request)

	mu   sync.Mutex
	seen []sighting
}

func (w *witness) Do(r *http.Request) (*http.Response, error) {
	if w.spoil != nil {
		w.spoil(r)
	}
	resp, err := w.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, sighting{r.Method, r.URL.Path, r.Header.Get("X-Aws-Ec2-Metadata-Token"), resp.StatusCode})
	return resp, nil
}

// tokens counts the requests for a token.
func (w *witness) tokens() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen {
		if s.method == http.MethodPut {
			n++
		}
	}
	return n
}

// withoutToken returns the paths that were read by version 1.
func (w *witness) withoutToken() (paths []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen {
		if s.method == http.MethodGet && s.token == "" {
			paths = append(paths, s.path)
		}
	}
	return paths
}

// newSDK makes the SDK's metadata client, which must do without version 1.
func newSDK(s *server, w *witness) *imds.Client {
	return imds.New(imds.Options{
		Endpoint:       "http://" + s.IMDS,
		HTTPClient:     w,
		EnableFallback: aws.FalseTernary,
		Retryer:        retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond }),

		DisableDefaultMaxBackoff: true, // the second that it is has no use here
	})
}

func text(t *testing.T, content io.ReadCloser) string {
	t.Helper()
	defer content.Close()
	b, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// required makes tokens required, as the end of a migration does.
func required(in *openimds.Instance) { in.Options.Tokens = openimds.TokensRequired }

func TestSDKMetadata(t *testing.T) {
	for name, change := range map[string]func(*openimds.Instance){"tokens optional": nil, "tokens required": required} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, w := serve(t, change), &witness{}
			client, in := newSDK(s, w), s.Instance
			nic := in.NICs[0]
			for path, want := range map[string]string{
				"ami-id":                       in.ImageID,
				"instance-id":                  in.ID,
				"instance-type":                in.InstanceType,
				"mac":                          nic.MAC,
				"local-hostname":               nic.LocalHostname,
				"local-ipv4":                   nic.PrivateIPv4[0].String(),
				"public-ipv4":                  nic.Associations[0].Public.String(),
				"placement/availability-zone/": in.Zone, // with the slash that botocore and others put there
				"placement/region":             in.Region,
				"/reservation-id":              in.ReservationID,
				"network/interfaces/macs/" + nic.MAC + "/subnet-id": nic.SubnetID,
			} {
				out, err := client.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: path})
				if err != nil {
					t.Errorf("%s: %v", path, err)
					continue
				}
				if got := text(t, out.Content); got != want {
					t.Errorf("%s is %q, not %q", path, got, want)
				}
			}
			if paths := w.withoutToken(); len(paths) > 0 {
				t.Errorf("read by version 1: %q", paths)
			}
			if n := w.tokens(); n != 1 {
				t.Errorf("the client asked for %d tokens; it keeps one if it understands the answer", n)
			}
		})
	}
}

func TestSDKUserData(t *testing.T) {
	all := make([]byte, openimds.MaxUserData)
	for i := range all {
		all[i] = byte(i * 7)
	}
	s := serve(t, func(in *openimds.Instance) { in.UserData = all })
	out, err := newSDK(s, &witness{}).GetUserData(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, out.Content); got != string(all) {
		t.Errorf("the user data has %d bytes and is not what was stored", len(got))
	}
}

func TestSDKNoUserData(t *testing.T) {
	w := &witness{}
	_, err := newSDK(serve(t, nil), w).GetUserData(t.Context(), nil)
	if status := statusOf(err); status != http.StatusNotFound {
		t.Errorf("no user data is status %d: %v", status, err)
	}
	if w.tokens() != 1 || len(w.seen) != 2 {
		t.Errorf("a 404 was tried again: %v", w.seen)
	}
}

// statusOf returns the status that the SDK's error stands for, or 0.
func statusOf(err error) int {
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return response.HTTPStatusCode()
	}
	return 0
}

func TestSDKDocuments(t *testing.T) {
	s := serve(t, nil)
	client, in := newSDK(s, &witness{}), s.Instance

	document, err := client.GetInstanceIdentityDocument(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := imds.InstanceIdentityDocument{
		AccountID:        in.OwnerID,
		Architecture:     in.Architecture,
		AvailabilityZone: in.Zone,
		ImageID:          in.ImageID,
		InstanceID:       in.ID,
		InstanceType:     in.InstanceType,
		PendingTime:      in.LaunchedAt,
		PrivateIP:        in.NICs[0].PrivateIPv4[0].String(),
		Region:           in.Region,
		Version:          document.Version,
	}
	if got, want := asJSON(t, document.InstanceIdentityDocument), asJSON(t, want); got != want || document.Version == "" {
		t.Errorf("the identity document is\n%s\nnot\n%s", got, want)
	}

	dynamic, err := client.GetDynamicData(t.Context(), &imds.GetDynamicDataInput{Path: "instance-identity/document"})
	if err != nil {
		t.Fatal(err)
	}
	var same imds.InstanceIdentityDocument
	if err := json.Unmarshal([]byte(text(t, dynamic.Content)), &same); err != nil || same.InstanceID != in.ID {
		t.Errorf("the identity document as dynamic data: %+v, %v", same, err)
	}

	region, err := client.GetRegion(t.Context(), nil)
	if err != nil || region.Region != in.Region {
		t.Errorf("region %v, %v", region, err)
	}

	info, err := client.GetIAMInfo(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if info.Code != "Success" || info.InstanceProfileArn != in.Role.ProfileARN || info.InstanceProfileID != in.Role.ProfileID {
		t.Errorf("the instance profile is %+v, not %+v", info.IAMInfo, in.Role)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A token that the service does not take (it has expired, or the instance has begun a new life) must
// be refused in such a way that the client gets another one by itself.
func TestSDKGetsANewToken(t *testing.T) {
	s := serve(t, nil)
	stranger := serve(t, nil).token(t)
	spoiled := false
	w := &witness{spoil: func(r *http.Request) {
		if r.Method == http.MethodGet && !spoiled {
			r.Header.Set("X-Aws-Ec2-Metadata-Token", stranger)
			spoiled = true
		}
	}}
	out, err := newSDK(s, w).GetMetadata(t.Context(), &imds.GetMetadataInput{Path: "instance-id"})
	if err != nil {
		t.Fatal(err)
	}
	if got := text(t, out.Content); got != s.Instance.ID {
		t.Errorf("instance-id is %q", got)
	}
	var statuses []int
	for _, r := range w.seen {
		statuses = append(statuses, r.status)
	}
	if want := []int{200, 401, 200, 200}; !slices.Equal(statuses, want) {
		t.Errorf("statuses %v, not %v: %v", statuses, want, w.seen)
	}
}

// Without the endpoint there is no token, and a client must neither go on without one nor try again.
func TestSDKEndpointDisabled(t *testing.T) {
	s := serve(t, func(in *openimds.Instance) { in.Options.Endpoint = openimds.EndpointDisabled })
	w := &witness{}
	out, err := newSDK(s, w).GetMetadata(t.Context(), &imds.GetMetadataInput{Path: "instance-id"})
	if err == nil {
		t.Errorf("a disabled endpoint answers %q", text(t, out.Content))
	}
	want := []sighting{{method: http.MethodPut, path: "/latest/api/token", status: http.StatusForbidden}}
	if !slices.Equal(w.seen, want) {
		t.Errorf("the client's requests were %v, not %v", w.seen, want)
	}
}

// The standard retryer of the SDK must not need to hide anything from its user.
func TestSDKManyAtOnce(t *testing.T) {
	s := serve(t, required)
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	var clients sync.WaitGroup
	for range 64 {
		clients.Go(func() {
			w := &witness{}
			client := newSDK(s, w)
			for range 5 {
				out, err := client.GetMetadata(ctx, &imds.GetMetadataInput{Path: "instance-id"})
				if err != nil {
					t.Error(err)
					return
				}
				if got := text(t, out.Content); got != s.Instance.ID {
					t.Errorf("instance-id is %q", got)
				}
			}
			if len(w.seen) != 6 {
				t.Errorf("6 requests would do, but there were %d", len(w.seen))
			}
		})
	}
	clients.Wait()
}
