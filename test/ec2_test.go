package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestEC2JavaScript drives EC2's API with the SDK for JavaScript: its waiters and pages, and errors by their names.
func TestEC2JavaScript(t *testing.T) {
	need(t, "node")
	if _, err := os.Stat(filepath.Join("npm", "node_modules", "@aws-sdk", "client-ec2")); err != nil {
		t.Skip("@aws-sdk/client-ec2 is not installed: run 'npm ci' in test/npm")
	}
	s := serve(t, nil)
	out := s.run(t, "node", filepath.Join("npm", "ec2.js"), "http://"+s.API, filepath.Join(s.DataDir, "credentials"), s.Instance.ID)
	var got struct {
		HttpTokens, Tags, Failed string
		HopLimit, Instances      int
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.HttpTokens != "required" || got.HopLimit != 2 || got.Tags != "enabled" ||
		got.Instances != 2 || got.Failed != "IncorrectInstanceState" {
		t.Errorf("%s: %v", out, err)
	}
}
