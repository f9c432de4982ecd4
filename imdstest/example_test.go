package imdstest_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/imdstest"
)

// A program that finds credentials as every program on EC2 does, and the test that it does.
func Example() {
	t, end := testingT() // in your test: the *testing.T that it is given
	defer end()

	srv := imdstest.New(t, imdstest.Instance{
		Region:   "eu-central-1",
		RoleName: "app",
		Credentials: imdstest.Credentials{
			AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "secret", SessionToken: "token",
		},
	})

	// The program under test. Nothing tells it of srv.
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSRegion())
	if err != nil {
		t.Fatalf("%v", err)
	}
	keys, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		t.Fatalf("%v", err)
	}
	fmt.Println(cfg.Region, keys.AccessKeyID)

	srv.RequireNoV1(t) // it did not fall back to IMDSv1
	// Output: eu-central-1 ASIAEXAMPLE
}

// Parallel tests have a server each, and tell their client where it is.
func ExampleStart() {
	t, end := testingT() // in your test: the *testing.T that it is given
	defer end()

	srv := imdstest.Start(t, imdstest.Instance{
		ID:     "i-0123456789abcdef0",
		Values: map[string]string{"meta-data/ami-launch-index": "7"},
	})
	client := imds.New(imds.Options{Endpoint: srv.URL, EnableFallback: aws.FalseTernary})
	for _, path := range []string{"instance-id", "ami-launch-index"} {
		out, err := client.GetMetadata(context.Background(), &imds.GetMetadataInput{Path: path})
		if err != nil {
			t.Fatalf("%v", err)
		}
		value, _ := io.ReadAll(out.Content)
		fmt.Printf("%s: %s\n", path, value)
	}
	// Output:
	// instance-id: i-0123456789abcdef0
	// ami-launch-index: 7
}

// What becomes of a program that asks without a session token, once tokens are required.
func ExampleServer_SetOptions() {
	t, end := testingT() // in your test: the *testing.T that it is given
	defer end()

	srv := imdstest.Start(t, imdstest.Instance{UserData: "mode=worker"})
	fmt.Println(status(srv.URL + "/latest/user-data"))
	srv.SetOptions(imdstest.Options{Tokens: "required"})
	fmt.Println(status(srv.URL + "/latest/user-data"))
	// Output:
	// 200 OK
	// 401 Unauthorized
}

// Who asked for what, and how.
func ExampleServer_Requests() {
	t, end := testingT() // in your test: the *testing.T that it is given
	defer end()

	srv := imdstest.Start(t, imdstest.Instance{})
	status(srv.URL + "/latest/meta-data/instance-id")
	status(srv.URL + "/latest/user-data")
	for _, r := range srv.Requests() {
		fmt.Println(r.Version, r.Method, r.Path, r.Status)
	}
	// Output:
	// v1 GET /latest/meta-data/instance-id 200
	// v1 GET /latest/user-data 404
}

// A spot instance learns that it will be interrupted.
func ExampleServer_InterruptSpot() {
	t, end := testingT() // in your test: the *testing.T that it is given
	defer end()

	srv := imdstest.Start(t, imdstest.Instance{LifeCycle: "spot"})
	fmt.Println(status(srv.URL + "/latest/meta-data/spot/instance-action"))
	srv.InterruptSpot("terminate", time.Now().Add(2*time.Minute))
	fmt.Println(status(srv.URL + "/latest/meta-data/spot/instance-action"))
	// Output:
	// 404 Not Found
	// 200 OK
}

// A client that tries again, and a service that fails nine times out of ten.
func ExampleServer_SetFaults() {
	t, end := testingT() // in your test: the *testing.T that it is given
	defer end()

	srv := imdstest.Start(t, imdstest.Instance{UserData: "mode=worker"})
	srv.SetFaults(openimds.Faults{Status: 503, StatusShare: 0.9})
	tries := 1
	for status(srv.URL+"/latest/user-data") != "200 OK" {
		tries++
	}
	fmt.Println(tries == len(srv.Requests()))
	// Output: true
}

// status asks for a URL as old software does.
func status(url string) string {
	resp, err := http.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.Status
}

// testingT makes what stands for a test here, since an example has none; end is the end of the test.
func testingT() (t imdstest.TB, end func()) {
	r := &recorder{example: true}
	return r, r.end
}
