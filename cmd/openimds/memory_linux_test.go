package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/api/awsjson"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

// changesEnv sets how many changes TestMemoryOfChanges makes; a soak makes more.
const changesEnv = "OPENIMDS_TEST_CHANGES"

// mostMemory is how much a server may grow by changes, whatever they are, in KB: the history that
// watchers may fall behind, and what the garbage collector leaves for later.
const mostMemory = 100 << 10

// TestMemoryOfChanges changes an instance with a recording that is as large as may be, over and over, in
// each way that writes much.
func TestMemoryOfChanges(t *testing.T) {
	if raceEnabled() {
		t.Skip("skipped: the race detector needs memory of its own; it runs without it, too")
	}
	changes := times(t, changesEnv, 200)
	recorded := &wire.Recording{Source: "there", RecordedAt: awsjson.At(time.Now()), Items: []wire.RecordedItem{
		{Path: "", Listing: true, ContentType: "text/plain", Body: awsjson.Blob("latest")},
		{Path: "latest", Listing: true, ContentType: "text/plain", Body: awsjson.Blob("large")},
		{Path: "latest/large", ContentType: "text/plain", Body: awsjson.Blob(strings.Repeat("x", 240<<10))},
	}}
	p := startProcess(t, filepath.Join(t.TempDir(), "data"))
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ENDPOINT_URL_LIGHTSAIL"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(p.dir, credentialsFile))
	c := clientConfig{endpoint: "http://" + p.api, output: "json"}
	api, err := c.open(t.Context())
	must(t, err)
	set := func(r wire.SetInstanceRequest) error {
		r.InstanceName = "demo"
		_, err := client.Call(t.Context(), api, wire.SetInstance, r)
		return err
	}
	must(t, set(wire.SetInstanceRequest{Recording: recorded}))
	overlay := strings.Repeat("<", 30<<10)
	for _, way := range []struct {
		name   string
		change func(n int) error
	}{
		{"options", func(n int) error {
			_, err := client.Call(t.Context(), api, wire.UpdateInstanceMetadataOptions,
				wire.UpdateInstanceMetadataOptionsRequest{InstanceName: "demo", HTTPPutResponseHopLimit: new(1 + n%64)})
			return err
		}},
		{"recordings", func(n int) error {
			recorded.Items[2].Body[n] ^= 1
			return set(wire.SetInstanceRequest{Recording: recorded})
		}},
		{"user data and overlays", func(n int) error {
			data := make(awsjson.Blob, 16<<10)
			data[0] = byte(n)
			return set(wire.SetInstanceRequest{UserData: &data, Overlay: map[string]*string{"meta-data/x": &overlay}})
		}},
	} {
		before := p.resident(t)
		for n := range changes {
			must(t, way.change(n))
		}
		grown := p.resident(t) - before
		t.Logf("%d changes of %s: from %d MB to %d MB", changes, way.name, before>>10, (before+grown)>>10)
		if grown > mostMemory {
			t.Errorf("%d changes of %s took %d MB", changes, way.name, grown>>10)
		}
	}
}

// resident is how much memory the process has, in KB, with the pages of the store's file.
func (p *process) resident(t *testing.T) (kb int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	must(t, err)
	_, rest, found := strings.Cut(string(text), "\nVmRSS:")
	if !found {
		t.Fatal("the memory of a process is not told")
	}
	_, err = fmt.Sscan(rest, &kb)
	must(t, err)
	return kb
}
