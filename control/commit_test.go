package control_test

import (
	"fmt"
	"testing"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// TestLargestCommits makes what changes most at once; the fixture's store watches the size of each commit.
func TestLargestCommits(t *testing.T) {
	f := newFixture(t, func(c *control.Config, _ *store.Store) { c.Attachments = carried{} })
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for i := range 20 {
		names = append(names, fmt.Sprint("web-", i))
	}
	_, err := f.CreateInstances(ctx, launch(names...))
	must(err)
	for _, name := range openimds.Metrics() {
		if m, _ := openimds.FindMetric(name); m.Alarms {
			for i := range 2 {
				c := openimds.AlarmConfig{Instance: "web-0", Metric: name, Comparison: openimds.Above, Periods: 1}
				_, err := f.PutAlarm(ctx, fmt.Sprint(name, i), c, nil)
				must(err)
			}
		}
	}
	_, err = f.AllocateStaticIP(ctx, "front")
	must(err)
	_, err = f.AttachStaticIP(ctx, "front", "web-0")
	must(err)
	_, err = f.AttachInstance(ctx, openimds.Attachment{Instance: "web-0", Interface: "tap0"})
	must(err)
	_, err = f.SetInstance(ctx, "web-0", control.InstanceUpdate{Recording: aRecording("there")})
	must(err)
	for hops := range 99 {
		f.update("web-0", openimds.OptionsUpdate{HopLimit: new(2 + hops%60)})
	}
	var bindings []openimds.Binding
	for i, name := range names[1:] {
		_, err = f.AttachInstance(ctx, openimds.Attachment{Instance: name, Interface: fmt.Sprint("tap", i+1)})
		must(err)
	}
	all, err := f.Attachments(ctx)
	must(err)
	for i, a := range all {
		bindings = append(bindings, openimds.Binding{Instance: a.Instance, CreatedAt: a.CreatedAt, Face: openimds.Face{Boot: "b", Index: i + 1}})
	}
	must(f.BindAttachments(ctx, bindings))
	_, err = f.DeleteInstance(ctx, "web-0")
	must(err)
	if left := f.keys(records.AlarmPrefix); len(left) > 0 {
		t.Errorf("alarms are left: %q", left)
	}
	if taken := f.keys(records.NamePrefix); len(taken) != 21 {
		t.Errorf("the names that are taken are %q; want 19 instances, the address and the key pair", taken)
	}
}
