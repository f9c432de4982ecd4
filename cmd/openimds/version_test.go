package main

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	for _, tt := range []struct{ release, module, want string }{
		{"v1.2.3", "(devel)", "v1.2.3"},
		{"", "v1.2.3", "v1.2.3"}, // as go install has it
		{"", "(devel)", "dev"},
		{"", "", "dev"},
	} {
		built := func() (*debug.BuildInfo, bool) {
			return &debug.BuildInfo{Main: debug.Module{Version: tt.module}}, true
		}
		if got := versionOf(tt.release, built); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
	if got := versionOf("", func() (*debug.BuildInfo, bool) { return nil, false }); got != "dev" {
		t.Errorf("without any information: %s", got)
	}
}
