package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
)

// A profile is a role, as --role is: the command has no other credentials.
func TestRunHasRole(t *testing.T) {
	for _, c := range []*runConfig{{profile: "prod"}, {set: setFlags{role: "app"}}} {
		if !c.hasRole() {
			t.Errorf("%+v: the command keeps credentials beside its role's", c)
		}
	}
	if (&runConfig{}).hasRole() {
		t.Error("without a role the command loses its own credentials")
	}
}

// What would let nothing through is refused in one line, without what may be a value.
func TestRunPassesAWSOnPurpose(t *testing.T) {
	for _, args := range [][]string{
		{"--pass-aws-env", "AWS_VAULT"},
		{"--pass-aws-env", "AWS_VAULT", "--instance", "web-1"},
		{"--role", "app", "--pass-aws-env", "VAULT"},
		{"--role", "app", "--pass-aws-env", "AWS_VAULT,aws_vault"},
		{"--profile", "prod", "--pass-aws-env", "AWS_VAULT=canary"},
	} {
		var errs bytes.Buffer
		code := run(t.Context(), slices.Concat([]string{"run"}, args, []string{"--", "true"}), io.Discard, &errs)
		if text := errs.String(); code != exitUsage || !strings.Contains(text, "--pass-aws-env") || strings.Count(text, "\n") != 1 || strings.Contains(text, "canary") {
			t.Errorf("%q: exit code %d, %q", args, code, text)
		}
	}
}
