package clients

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// The lines of the EC2 user guide, as people type them.
func TestCurl(t *testing.T) {
	need(t, "curl")
	s := serve(t, required)
	root := "http://" + s.IMDS + "/latest"
	token := s.run(t, "curl", "-sS", "-X", "PUT", root+"/api/token", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 21600")
	session := "X-aws-ec2-metadata-token: " + token
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"read", []string{"-sS", "-H", session, root + "/meta-data/instance-id"}, s.Instance.ID},
		{"read by HTTP/1.0", []string{"-sS", "-0", "-H", session, root + "/meta-data/instance-id"}, s.Instance.ID},
		{"status without a session", []string{"-sS", "-w", "%{http_code}", root + "/meta-data/instance-id"}, "401"},
		{"no redirect", []string{"-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", session, root + "/meta-data"}, "200"},
		// s3fs and others send these.
		{"Expect", []string{"-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "PUT", "-H", "Expect: 100-continue", root + "/api/token", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60"}, "417"},
		{"chunked", []string{"-sS", "-o", "/dev/null", "-w", "%{http_code}%{size_download}", "-X", "PUT", "-T", "/dev/null", "-H", "Transfer-Encoding: chunked", "-H", "Expect:", root + "/api/token", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60"}, "20056"},
	} {
		if got := s.run(t, "curl", test.args...); got != test.want {
			t.Errorf("%s: %q, not %q", test.name, got, test.want)
		}
	}
	head := s.run(t, "curl", "-sS", "-I", "-H", session, root+"/meta-data/instance-id")
	if size := fmt.Sprintf("\r\nContent-Length: %d\r\n", len(s.Instance.ID)); !strings.Contains(head, size) {
		t.Errorf("HEAD: %q", head)
	}
}

// Software that speaks HTTP/1.0 without a Host line is answered in kind.
func TestHTTP10(t *testing.T) {
	s := serve(t, nil)
	c := s.dial(t)
	if _, err := io.WriteString(c, "GET /latest/meta-data/instance-id HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.0 200 OK\r\n") || body != s.Instance.ID {
		t.Errorf("answered %q", answer)
	}
}
