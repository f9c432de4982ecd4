package main

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/openimds/openimds/runner"
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

// That requests may be missing is told beside what was seen of IMDSv1, and fails --fail-on-v1 alone too.
func TestRunTellsOfHoles(t *testing.T) {
	for _, report := range []runner.Report{{}, {{Version: "v1", Path: "/latest", Count: 1}}} {
		var errs bytes.Buffer
		cmd := newRun()
		cmd.SetErr(&errs)
		err := (&runConfig{failOnV1: true}).conclude(cmd, runner.Ended{Report: report, Unknown: errors.New("the server is gone")})
		if err == nil || strings.Count(errs.String(), "there may be requests that are not reported: the server is gone\n") != 1 {
			t.Errorf("%v: %v, %q", report, err, errs.String())
		}
	}
}
