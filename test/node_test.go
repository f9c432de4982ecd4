package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestJavaScript(t *testing.T) {
	for name, module := range map[string]string{
		// What today's AWS SDK for JavaScript uses, and the name that it had before.
		"smithy": "@smithy/credential-provider-imds",
		"aws":    "@aws-sdk/credential-provider-imds",
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, required)
			before := s.roleSet(t, s.token(t))
			s.expectSet(t, s.javaScript(t, "find_credentials.js", module, module), before)
		})
	}
}

// javaScript runs a script of the npm folder and reads the credentials that it prints.
func (s *server) javaScript(t *testing.T, file, module string, args ...string) credentials {
	t.Helper()
	need(t, "node")
	if _, err := os.Stat(filepath.Join("npm", "node_modules", module)); err != nil {
		t.Skipf("%s is not installed: run 'npm ci' in test/npm", module)
	}
	var got credentials
	out := s.run(t, "node", append([]string{filepath.Join("npm", file)}, args...)...)
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return got
}
