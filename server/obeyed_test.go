package server

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestObeyedWhenAnswered: whoever changes something and then asks as the guest is answered by the change, each time,
// whatever else the machine does.
func TestObeyedWhenAnswered(t *testing.T) {
	cfg := forTest(filepath.Join(t.TempDir(), "data"))
	cfg.GuestRate, cfg.GuestConnections = 0, 0
	i := openInstallation(t, cfg)
	for n := range 40 {
		tokens, want := "required", "HTTP/1.1 401 "
		if n%2 == 1 {
			tokens, want = "optional", "HTTP/1.1 200 "
		}
		must(t, i.client.call(t.Context(), targetLightsail+"UpdateInstanceMetadataOptions", map[string]any{"instanceName": "demo", "httpTokens": tokens}, nil))
		if got := exchange(t, i.imds, "GET /latest/meta-data/ami-id HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(got, want) {
			t.Fatalf("round %d: behind a change to %s the guest is answered\n%s", n, tokens, got)
		}
	}
	for n := range 40 {
		must(t, i.client.call(t.Context(), targetOpenIMDS+"SetInstance", map[string]any{"instanceName": "demo", "overlay": map[string]any{"meta-data/round": fmt.Sprint(n)}}, nil))
		if got := exchange(t, i.imds, "GET /latest/meta-data/round HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasSuffix(got, "\r\n\r\n"+fmt.Sprint(n)) {
			t.Fatalf("round %d: behind a change the guest is answered\n%s", n, got)
		}
	}
}
