package imdstest

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/ec2"
	"github.com/openimds/openimds/api/sigv4"
)

// EC2 is where EC2's API of an instance is, and the key that it takes.
type EC2 struct {
	// URL is for a client's endpoint, like "http://127.0.0.1:41235".
	URL    string
	Region string
	// AccessKeyID and SecretAccessKey are of no use elsewhere.
	AccessKeyID, SecretAccessKey string
}

// EC2 starts EC2's API for the instance, or says where it is: an EC2 client of the program under test describes the
// instance, and changes its metadata options, which the next request obeys. It ends with the
// test.
func (s *Server) EC2() EC2 {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ec2 != nil {
		return *s.ec2
	}
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatalf("imdstest: EC2's API cannot listen: %v", err)
		return EC2{}
	}
	at := EC2{URL: "http://" + l.Addr().String(), Region: s.service.Region(), AccessKeyID: "AKIDIMDSTESTIMDSTEST", SecretAccessKey: "imdstest"}
	lookup := func(id string) (accesskeys.Key, bool, error) {
		return accesskeys.Key{ID: at.AccessKeyID, Secret: at.SecretAccessKey, Profile: "imdstest"}, id == at.AccessKeyID, nil
	}
	server := &http.Server{
		Handler: api.New(api.Config{
			Protocols: []api.Protocol{ec2.New(ec2.Config{Service: s.service})},
			Auth:      sigv4.New(sigv4.Config{Regions: []string{at.Region}, Keys: lookup}), Account: s.service.AccountID(),
		}),
		ReadHeaderTimeout: time.Minute,
	}
	go func() { _ = server.Serve(l) }() // it ends at Close
	s.t.Cleanup(func() { _ = server.Close() })
	s.ec2 = &at
	return at
}
