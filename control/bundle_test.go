package control_test

import (
	"testing"

	"github.com/openimds/openimds"
)

// TestStartOnAnotherBundle: a stopped instance of an earlier generation moves to the latest and back, and to nothing
// else.
func TestStartOnAnotherBundle(t *testing.T) {
	f := newFixture(t, nil)
	ctx := t.Context()
	f.create("web")
	_, err := f.StartInstanceOn(ctx, "web", "auto")
	refused(t, err, openimds.OperationFailure, openimds.WrongState, "The instance web cannot be changed and started: it is running, not stopped")
	if _, err := f.StopInstance(ctx, "web"); err != nil {
		t.Fatal(err)
	}
	in := f.get("web")
	in.BundleID = "small_2_0" // as it was made years ago
	f.overwrite(in)
	for _, tt := range []struct {
		bundle  string
		code    openimds.Code
		message string
	}{
		{"micro_3_0", openimds.Incompatible, "The bundle micro_3_0 is neither a later generation of small_2_0 nor the one that the instance ran on before"},
		{"small_win_3_0", openimds.Incompatible, "The bundle small_win_3_0 is neither a later generation of small_2_0 nor the one that the instance ran on before"},
		{"small_ipv6_3_0", openimds.Incompatible, "The bundle small_ipv6_3_0 is neither a later generation of small_2_0 nor the one that the instance ran on before"},
		{"micro_2_0", openimds.Incompatible, "The bundle micro_2_0 is neither a later generation of small_2_0 nor the one that the instance ran on before"},
		{"small_4_0", openimds.NotOffered, "The bundle small_4_0 is not offered in this region"},
	} {
		_, err := f.StartInstanceOn(ctx, "web", tt.bundle)
		refused(t, err, openimds.InvalidInput, tt.code, tt.message)
	}
	for _, step := range []struct{ to, becomes, former string }{
		{"small_2_0", "small_2_0", ""},
		{"auto", "small_3_0", "small_2_0"},
		{"small_2_0", "small_2_0", "small_3_0"},
		{"small_3_0", "small_3_0", "small_2_0"},
	} {
		ops, err := f.StartInstanceOn(ctx, "web", step.to)
		done(t, ops, err, "StartInstance web")
		in := f.get("web")
		if in.BundleID != step.becomes || in.FormerBundleID != step.former || in.InstanceType != "t3.small" && step.to != "small_2_0" || in.State != openimds.StateRunning {
			t.Errorf("to %s: it is %s with %s (%s), before %s", step.to, in.State, in.BundleID, in.InstanceType, in.FormerBundleID)
		}
		if _, err := f.StopInstance(ctx, "web"); err != nil {
			t.Fatal(err)
		}
	}
	_, err = f.StartInstanceOn(ctx, "web", "auto")
	refused(t, err, openimds.InvalidInput, openimds.Incompatible, "The bundle small_3_0 has no later generation")
	if in := f.get("web"); in.State != openimds.StateStopped {
		t.Errorf("what was refused left it %s", in.State)
	}
}
