package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestJavaScript(t *testing.T) {
	need(t, "node")
	for name, module := range map[string]string{
		// What today's AWS SDK for JavaScript uses, and the name that it had before.
		"smithy": "@smithy/credential-provider-imds",
		"aws":    "@aws-sdk/credential-provider-imds",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := os.Stat(filepath.Join("npm", "node_modules", module)); err != nil {
				t.Skipf("%s is not installed: run 'npm ci' in test/npm", module)
			}
			s := serve(t, required)
			before := s.roleSet(t, s.token(t))
			out := s.run(t, "node", filepath.Join("npm", "find_credentials.js"), module)
			var got credentials
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			s.expectSet(t, got, before)
		})
	}
}
