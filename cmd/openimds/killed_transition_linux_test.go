package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/server"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
)

// TestKilledInTransition kills the real program while instances are pending and stopping: whatever it was in the middle
// of, the next one ends, once, and leaves nothing that waits. RESTARTS is how often.
func TestKilledInTransition(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := startProcess(t, dir)
	operator := func(args ...string) {
		t.Helper()
		if out, err := p.operator(args...); err != nil {
			t.Fatalf("openimds %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	operator("instance", "create", "web-0")
	restarts := times(t, "RESTARTS", 4)
	for n := 1; n <= restarts; n++ {
		born, dying := fmt.Sprint("web-", n), fmt.Sprint("web-", n-1)
		operator("instance", "create", born, "--no-wait")
		operator("instance", "stop", dying, "--no-wait")
		time.Sleep(rand.N(400 * time.Millisecond)) // before, in or after the end of each
		must(t, p.cmd.Process.Kill())
		_ = p.cmd.Wait()
		p = startProcess(t, dir)
		operator("instance", "start", born)
		operator("instance", "stop", dying)
	}
	p.stop(t)

	kept, err := bolt.Open(filepath.Join(dir, server.StoreFile))
	must(t, err)
	defer func() { must(t, kept.Close()) }()
	list := func(prefix string) []store.Record {
		t.Helper()
		page, err := kept.List(t.Context(), store.Range{Prefix: prefix})
		must(t, err)
		return page.Records
	}
	if left := list(records.TransitionPrefix); len(left) > 0 {
		t.Errorf("%d instances are still in the middle of something", len(left))
	}
	for _, r := range list(records.OperationPrefix) {
		if op, err := records.Decode[openimds.Operation](r); err != nil || op.Status != openimds.OperationSucceeded {
			t.Errorf("%s of %s is %s, %v", op.Type, op.Resource, op.Status, err)
		}
	}
	for _, r := range list(records.InstancePrefix) {
		in, err := records.DecodeInstance(r)
		must(t, err)
		want := openimds.StateStopped
		if in.Name == "demo" || in.Name == fmt.Sprint("web-", restarts) {
			want = openimds.StateRunning
		}
		if _, has := in.PublicIPv4(); in.State != want || has != (want == openimds.StateRunning) {
			t.Errorf("%s is %s, with a public address: %v", in.Name, in.State, has)
		}
	}
}
