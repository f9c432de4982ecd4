package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/openimds/openimds/server"
)

// The server of the data directory is on this machine, under whatever name: it is asked without a proxy, as no other is.
func TestOwnServerPastProxies(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL_LIGHTSAIL", "")
	t.Setenv("AWS_CA_BUNDLE", "")
	const own = "https://meta.example.org:1339"
	c := clientConfig{dataDir: t.TempDir()}
	text := `{"imds":"http://127.0.0.1:1338/","api":"` + own + `"}`
	if err := os.WriteFile(filepath.Join(c.dataDir, server.EndpointsFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for endpoint, direct := range map[string]bool{own: true, "https://other.example.org": false} {
		speaks, err := c.httpClient(endpoint, nil)
		if err != nil {
			t.Fatal(err)
		}
		if transport, ok := speaks.Transport.(*http.Transport); !ok || (transport.Proxy == nil) != direct {
			t.Errorf("%s: asked without a proxy: %v, want %v", endpoint, !direct, direct)
		}
	}
}
