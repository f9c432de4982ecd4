package lightsail_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// again sends a request once more, byte for byte.
func (s *server) again(r *http.Request, body string) answer {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	return s.send(r)
}

// TestReplay sends signed requests a hundred times, as clients that try again do and whoever has captured
// one can: the state is that of once, and an honest answer to each.
func TestReplay(t *testing.T) {
	s := newServer(t)
	s.must("CreateInstances", `{"instanceNames":["web-1"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0"}`)
	for _, c := range []struct{ operation, body string }{
		{"UpdateInstanceMetadataOptions", `{"instanceName":"demo","httpTokens":"required","httpPutResponseHopLimit":7}`},
		{"TagResource", `{"resourceName":"demo","tags":[{"key":"a","value":"b"}]}`},
		{"CreateInstances", `{"instanceNames":["web-2"],"availabilityZone":"us-east-1a","blueprintId":"debian_12","bundleId":"nano_3_0"}`},
		{"StopInstance", `{"instanceName":"web-2"}`},
		{"DeleteInstance", `{"instanceName":"web-1"}`},
		{"AllocateStaticIp", `{"staticIpName":"front"}`},
		{"AttachStaticIp", `{"staticIpName":"front","instanceName":"demo"}`},
	} {
		r := s.request(s.full, c.operation, c.body)
		if a := s.again(r, c.body); a.status != http.StatusOK {
			t.Fatalf("%s: %d %s", c.operation, a.status, a.body)
		}
		once := s.instances()
		for range 100 {
			if a := s.again(r, c.body); a.status != http.StatusOK && a.status != http.StatusBadRequest {
				t.Fatalf("%s once more: %d %s", c.operation, a.status, a.body)
			}
		}
		if after := s.instances(); after != once {
			t.Errorf("%s a hundred times:\n%s\nonce:\n%s", c.operation, after, once)
		}
	}
}

// instances is all that the store has of instances, but for what says which change was the last.
func (s *server) instances() string {
	s.t.Helper()
	page, err := s.store.List(s.t.Context(), store.Range{Prefix: records.InstancePrefix})
	if err != nil {
		s.t.Fatal(err)
	}
	var all strings.Builder
	for _, r := range page.Records {
		in, err := records.DecodeInstance(r)
		if err != nil {
			s.t.Fatal(err)
		}
		in.OptionsOperation, in.ModifiedAt = "", time.Time{}
		text, err := json.Marshal(in)
		if err != nil {
			s.t.Fatal(err)
		}
		all.Write(append(text, '\n'))
	}
	return all.String()
}

// TestCompressedBody: a body is what it is, so that what is signed is what is read, and none is inflated.
func TestCompressedBody(t *testing.T) {
	s := newServer(t)
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(append([]byte(`{"instanceName":"demo","x":"`), make([]byte, 10<<20)...)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	body := zipped.String()
	r := s.request(s.full, "GetInstance", body)
	r.Header.Set("Content-Encoding", "gzip")
	if a := s.send(r); a.status != http.StatusBadRequest || a.header.Get("X-Amzn-Errortype") != malformed {
		t.Errorf("%d %s", a.status, a.body)
	}
}
