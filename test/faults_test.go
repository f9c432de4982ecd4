package clients

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/openimds/openimds"
)

// What the SDK does with faults on purpose is what authors of clients use them for.
func TestSDKMeetsFaults(t *testing.T) {
	faulty := func(f openimds.Faults) func(*openimds.Instance) {
		return func(in *openimds.Instance) { in.Faults = &f }
	}
	// ask reads the same item again and again, and fails the test unless all of it arrives.
	ask := func(t *testing.T, s *server, client *imds.Client, times int) {
		t.Helper()
		for range times {
			out, err := client.GetMetadata(t.Context(), &imds.GetMetadataInput{Path: "instance-id"})
			if err != nil {
				t.Fatal(err)
			}
			if got := text(t, out.Content); got != s.Instance.ID {
				t.Fatalf("got %q", got)
			}
		}
	}
	t.Run("it tries again after a 503", func(t *testing.T) {
		t.Parallel()
		s, w := serve(t, faulty(openimds.Faults{On: openimds.FaultsOnAll, Status: 503, StatusShare: 0.25})), &witness{}
		ask(t, s, newSDK(s, w), 90)
		failed := 0
		for _, one := range w.seen {
			if one.status == 503 {
				failed++
			}
		}
		if n := len(w.seen); failed < n/4-3 || failed > n/4+3 || n < 90+failed {
			t.Errorf("%d of %d requests failed, want a quarter", failed, n)
		}
	})
	t.Run("it tries again after a reset", func(t *testing.T) {
		t.Parallel()
		s := serve(t, faulty(openimds.Faults{On: openimds.FaultsOnAll, RefuseShare: 0.25}))
		resets := &resetCounter{witness: &witness{}}
		client := imds.New(imds.Options{
			Endpoint: "http://" + s.IMDS, HTTPClient: resets, EnableFallback: aws.FalseTernary, DisableDefaultMaxBackoff: true,
			Retryer: retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond }),
		})
		ask(t, s, client, 45)
		if n := len(resets.seen) + resets.n; resets.n < n/4-3 || resets.n > n/4+3 {
			t.Errorf("%d of %d connections were reset, want a quarter", resets.n, n)
		}
	})
	t.Run("it gives up on silence, tries again, and goes on when that ends", func(t *testing.T) {
		t.Parallel()
		s, w := serve(t, faulty(openimds.Faults{On: openimds.FaultsOnAll, DropShare: 1, Count: 2, CountedFrom: time.Now().UTC()})), &witness{}
		client := imds.New(imds.Options{
			Endpoint: "http://" + s.IMDS, HTTPClient: impatient{w, 2 * time.Second}, EnableFallback: aws.FalseTernary, DisableDefaultMaxBackoff: true,
			DisableDefaultTimeout: true, Retryer: retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond }),
		})
		ask(t, s, client, 3)
		if n := len(w.seen); n != 4 || len(w.withoutToken()) > 0 {
			t.Errorf("of a token and 3 items, %d answers came: %+v", n, w.seen)
		}
	})
	t.Run("it falls back to version 1 without tokens", func(t *testing.T) {
		t.Parallel()
		s, w := serve(t, faulty(openimds.Faults{On: openimds.FaultsOnToken, Status: 403, StatusShare: 1})), &witness{}
		ask(t, s, imds.New(imds.Options{Endpoint: "http://" + s.IMDS, HTTPClient: w}), 3)
		if n := len(w.withoutToken()); n != 3 || w.tokens() == 0 {
			t.Errorf("%d requests without a token after %d for one", n, w.tokens())
		}
	})
}

// impatient gives up on a request after a while.
type impatient struct {
	*witness
	after time.Duration
}

func (i impatient) Do(req *http.Request) (*http.Response, error) {
	ctx, done := context.WithTimeout(req.Context(), i.after)
	defer done()
	resp, err := i.witness.Do(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, err
}

// resetCounter counts connections that were reset.
type resetCounter struct {
	*witness
	n int
}

func (r *resetCounter) Do(req *http.Request) (*http.Response, error) {
	resp, err := r.witness.Do(req)
	if errors.Is(err, syscall.ECONNRESET) {
		r.n++
	}
	return resp, err
}
