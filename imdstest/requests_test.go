package imdstest_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/imdstest"
)

func request(t *testing.T, method, url string, header ...string) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", "probe/1")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestRequests(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{})
	before := time.Now()
	request(t, "GET", srv.URL+"/latest/meta-data/ami-id?x=1")
	request(t, "HEAD", srv.URL+"/latest/none")
	request(t, "PUT", srv.URL+"/latest/api/token")
	request(t, "PUT", srv.URL+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	request(t, "GET", srv.URL+"/latest/meta-data/", "X-aws-ec2-metadata-token", "wrong")
	request(t, "OPTIONS", srv.URL+"/latest/")
	request(t, "POST", srv.URL+"/latest/")
	srv.SetOptions(imdstest.Options{Tokens: "required"})
	request(t, "GET", srv.URL+"/latest/user-data")
	var got []string
	for _, r := range srv.Requests() {
		got = append(got, r.String())
		if r.Time.Before(before.Add(-time.Second)) || r.Time.After(time.Now().Add(time.Second)) {
			t.Errorf("%s was at %s", r, r.Time)
		}
	}
	want := []string{
		`GET /latest/meta-data/ami-id?x=1 200 v1 "probe/1"`,
		`HEAD /latest/none 404 v1 "probe/1"`,
		`PUT /latest/api/token 400 v2 "probe/1"`,
		`PUT /latest/api/token 200 v2 "probe/1"`,
		`GET /latest/meta-data/ 401 v2 "probe/1"`,
		`OPTIONS /latest/ 200 none "probe/1"`,
		`POST /latest/ 405 none "probe/1"`,
		`GET /latest/user-data 401 v1 "probe/1"`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("the requests are\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	srv.ResetRequests()
	if got := srv.Requests(); len(got) != 0 {
		t.Errorf("after ResetRequests there are %v", got)
	}
}

func TestRequireNoV1(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{})
	request(t, "PUT", srv.URL+"/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
	if said := failure(&recorder{}, srv.RequireNoV1); said != "" {
		t.Errorf("with no request of version 1: %s", said)
	}
	request(t, "GET", srv.URL+"/latest/meta-data/ami-id")
	request(t, "GET", srv.URL+"/latest/user-data")
	want := "imdstest: requests without a session token (IMDSv1): 2\n" +
		"\tGET /latest/meta-data/ami-id 200 v1 \"probe/1\"\n\tGET /latest/user-data 404 v1 \"probe/1\""
	if said := failure(&recorder{}, srv.RequireNoV1); said != want {
		t.Errorf("it says\n%s\nnot\n%s", said, want)
	}
}

// A program that hears nothing is found out as well, and faults end by themselves for a test that goes on.
func TestFaultsThatEnd(t *testing.T) {
	t.Parallel()
	srv := imdstest.Start(t, imdstest.Instance{RoleName: "app"})
	status := func(ctx context.Context, path string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/latest/meta-data/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	srv.SetFaults(openimds.Faults{DropShare: 1, On: "meta-data/iam"})
	impatient, leave := context.WithCancel(t.Context())
	go func() {
		for len(srv.Requests()) == 0 && t.Context().Err() == nil {
			time.Sleep(time.Millisecond)
		}
		leave()
	}()
	if a, b := status(impatient, "iam/info"), status(t.Context(), "ami-id"); a != 0 || b != 200 {
		t.Errorf("dropped: %d, not dropped: %d", a, b)
	}
	if said := failure(&recorder{}, srv.RequireNoV1); !strings.Contains(said, "GET /latest/meta-data/iam/info 0 v1 ") {
		t.Errorf("the one that was dropped is not told of: %s", said)
	}
	srv.SetFaults(openimds.Faults{Status: 503, Count: 2})
	if got := []int{status(t.Context(), "ami-id"), status(t.Context(), "mac"), status(t.Context(), "mac")}; !slices.Equal(got, []int{503, 503, 200}) {
		t.Errorf("with an end after 2: %v", got)
	}
	srv.SetFaults(openimds.Faults{Status: 503, Until: time.Now().Add(time.Millisecond)})
	time.Sleep(2 * time.Millisecond)
	if got := status(t.Context(), "mac"); got != 200 {
		t.Errorf("after their time: %d", got)
	}
}

// A program that falls back to IMDSv1 is found out whatever the service does to it.
func TestRequireNoV1UnderFaults(t *testing.T) {
	t.Parallel()
	for _, faults := range []openimds.Faults{{Status: 503}, {RefuseShare: 1}} {
		srv := imdstest.Start(t, imdstest.Instance{})
		srv.SetFaults(faults)
		send := func(method, path string, header ...string) {
			t.Helper()
			r, err := http.NewRequest(method, srv.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("User-Agent", "probe/1")
			for i := 0; i < len(header); i += 2 {
				r.Header.Set(header[i], header[i+1])
			}
			// Not http.DefaultClient, which tries a reset connection again.
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
			if err == nil {
				resp.Body.Close()
			}
		}
		send("PUT", "/latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds", "60")
		send("GET", "/latest/user-data", "X-aws-ec2-metadata-token", "any")
		if said := failure(&recorder{}, srv.RequireNoV1); said != "" {
			t.Errorf("%+v, with no request of version 1: %s", faults, said)
		}
		for _, r := range srv.Requests() {
			if r.Version != imdstest.V2 || r.Status != faults.Status {
				t.Errorf("%+v: %s", faults, r)
			}
		}
		send("GET", "/latest/user-data")
		want := fmt.Sprintf("imdstest: requests without a session token (IMDSv1): 1\n\tGET /latest/user-data %d v1 \"probe/1\"", faults.Status)
		if said := failure(&recorder{}, srv.RequireNoV1); said != want {
			t.Errorf("%+v: it says\n%s\nnot\n%s", faults, said, want)
		}
	}
}
