package server

import (
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
)

// TestEarlierData starts on the store of an earlier version, whose instance has its recording in its own
// record and whose callers are JSON: the guest is answered as before, and all is carried over.
func TestEarlierData(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	unzip(t, filepath.Join("testdata", "earlier.db.gz"), filepath.Join(dir, StoreFile))
	for round := range 2 { // the second starts on what the first has made of it
		i := openInstallation(t, forTest(dir))
		s := i.server
		in, err := s.service.Instance(t.Context(), "demo")
		if err != nil {
			t.Fatal(err)
		}
		if in.Recorded == nil || in.Recorded.Items != 79 || in.Options.HopLimit != 3+round {
			t.Errorf("the instance has hop limit %d and the recording %+v", in.Options.HopLimit, in.Recorded)
		}
		if got := i.answer(t, "/latest/meta-data/ami-id"); !strings.Contains(got, " 200 ") || !strings.HasSuffix(got, "ami-fbb2d7a7ac948836e") {
			t.Errorf("the guest is answered %q", got)
		}
		// Recorded, and not in the table of this installation's day: the date of the recording.
		if got := i.answer(t, "/latest/meta-data/"); !strings.Contains(got, "Last-Modified: Wed, 25 Nov 2026 22:04:0") {
			t.Errorf("the listing is %q", got)
		}
		hops := 4
		if _, err := s.service.UpdateOptions(t.Context(), "demo", openimds.OptionsUpdate{HopLimit: &hops}); err != nil {
			t.Fatal(err)
		}
		record, err := s.store.Get(t.Context(), records.InstancePrefix+"demo")
		if err != nil || len(record.Value) > 8<<10 || !strings.HasPrefix(string(record.Value), `{"schema":2,`) {
			t.Errorf("the instance's record has %d bytes, %v", len(record.Value), err)
		}
		if err := s.usage.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		callers, err := s.usage.Callers(t.Context(), in.ID, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, c := range callers {
			found[c.UserAgent] = true
		}
		if len(callers) < 26 || !found["aws-cli/2.15"] || !found["Boto3/1.34 with a long tail of words that goes on and on and on and on and on and on and on and on and on beyond one hundred …"] {
			t.Errorf("%d callers: %v", len(callers), found)
		}
		i.stop()
	}
}

// answer asks as a guest, without a token, and returns the whole answer.
func (i *installation) answer(t *testing.T, path string) string {
	t.Helper()
	return exchange(t, i.imds, "GET "+path+" HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
}

func unzip(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	text, err := gzip.NewReader(in)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(text)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
