package records_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// attachable stands for a host that carries attachments out.
type attachable struct{}

func (attachable) Guarded() []openimds.GuardedPlace                  { return nil }
func (attachable) Release([]string) ([]openimds.GuardedPlace, error) { return nil, nil }

func (attachable) Status(string, time.Time) (openimds.AttachmentStatus, bool) {
	return openimds.AttachmentStatus{}, false
}

// fill has a store hold some of all that an upgrade carries over.
func fill(t *testing.T, s store.Store, host string) {
	t.Helper()
	service := control.New(s, control.Config{Region: "us-east-1", AccountID: "123456789012", Host: host, Attachments: attachable{}})
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
	for _, zone := range []string{"us-east-1a", "us-east-1b"} {
		_, err := service.CreateInstances(t.Context(), control.InstancesLaunch{Names: names, Zone: zone, BlueprintID: "debian_12", BundleID: "nano_3_0"})
		must(err)
		for i := range names {
			names[i] += "b"
		}
	}
	for range 150 {
		_, err := service.RebootInstance(t.Context(), "web-0")
		must(err)
	}
	_, err := service.AllocateStaticIP(t.Context(), "front")
	must(err)
	alarm := openimds.AlarmConfig{Instance: "web-0", Metric: "MetadataNoToken", Comparison: openimds.Above, Periods: 1}
	_, err = service.PutAlarm(t.Context(), "load", alarm, nil)
	must(err)
	for i, a := range []openimds.Attachment{
		{Interface: "br0", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}},
		{Interface: "br0", Sources: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}},
		{Interface: "tap0"},
		{Netns: "/run/netns/interface"},
		{Netns: "box"},
		{PID: 1},
	} {
		a.Instance = fmt.Sprint("web-", i)
		_, err := service.AttachInstance(t.Context(), a)
		must(err)
	}
}

func dump(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	page, err := s.List(t.Context(), store.Range{})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, r := range page.Records {
		if r.Lease != store.NoLease {
			t.Errorf("%s is bound to a lease", r.Key)
		}
		all[r.Key] = string(r.Value)
	}
	return all
}

// turnBack has a store be as an earlier release, of hosts without a name, wrote it.
func turnBack(t *testing.T, s store.Store, host string) {
	t.Helper()
	for key, value := range dump(t, s) {
		was := key
		switch kind, _, _ := strings.Cut(key, "/"); kind {
		case "layout", "name", "instance-id":
			key = ""
		case "operation", "operation-of":
			at := strings.LastIndex(key, "/") + 1
			id := []byte(key[at:])
			for i, c := range id {
				if n := strings.IndexByte("0123456789abcdef", c); n >= 0 {
					id[i] = "fedcba9876543210"[n]
				}
			}
			key = key[:at] + string(id)
			if !strings.Contains(value, string(id)) {
				t.Fatalf("%s is not turned around: %s", was, value)
			}
		case "attachment":
			value = strings.Replace(value, `"schema":3`, `"schema":2`, 1)
			value = strings.Replace(value, `"host":"`+host+`",`, "", 1)
		case "place":
			key = strings.Replace(key, host+"/", "", 1)
			value = strings.ReplaceAll(value, `"host":"`+host+`",`, "")
		default:
			continue
		}
		changes := []store.Change{{Verb: store.Delete, Key: was, If: store.Whatever}}
		if key == was {
			changes = nil
		}
		if key != "" {
			changes = append(changes, store.Change{Key: key, Value: []byte(value), If: store.Whatever})
		}
		if _, err := s.Commit(t.Context(), changes...); err != nil {
			t.Fatal(err)
		}
	}
}

var errPower = errors.New("the power is gone")

// interrupted fails each commit behind the first few, and any that is too large for a fleet's store.
type interrupted struct {
	store.Store
	left *atomic.Int64
}

func (s interrupted) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if s.left.Add(-1) < 0 {
		return 0, errPower
	}
	if len(changes) > 100 {
		return 0, fmt.Errorf("a commit has %d changes", len(changes))
	}
	return s.Store.Commit(ctx, changes...)
}

// TestUpgrade carries an earlier release's records over to just those that the present one writes, however
// often it is interrupted, and then never again.
func TestUpgrade(t *testing.T) {
	for _, host := range []string{openimds.LocalHost, "netns", "interface"} {
		kept := mem.New()
		fill(t, kept, host)
		want := dump(t, kept)
		turnBack(t, kept, host)
		if was := dump(t, kept); maps.Equal(was, want) {
			t.Fatal("the earlier layout is the present one")
		}
		rounds := 0
		for ; ; rounds++ {
			var left atomic.Int64
			left.Store(int64(rounds))
			err := records.Upgrade(t.Context(), interrupted{kept, &left}, host)
			if err == nil {
				break
			}
			if !errors.Is(err, errPower) || strings.Contains(err.Error(), "\n") {
				t.Fatal(err)
			}
		}
		if rounds < 5 {
			t.Errorf("%d upgrades were interrupted", rounds)
		}
		got := dump(t, kept)
		if got["layout"] == "" {
			t.Error("the store does not say how it is laid out")
		}
		delete(got, "layout")
		if !maps.Equal(got, want) {
			for _, key := range slices.Sorted(maps.Keys(want)) {
				if got[key] != want[key] {
					t.Errorf("%s is %s, want %s", key, got[key], want[key])
				}
			}
			t.Errorf("%d records, want %d", len(got), len(want))
		}
		var none atomic.Int64
		if err := records.Upgrade(t.Context(), interrupted{kept, &none}, "other"); err != nil {
			t.Errorf("an upgrade of what is upgraded: %v", err)
		}
	}
}

// TestUpgradeFromNames: instances of a store in which they were found by their names alone are found by their ids
// as well, also after an interruption.
func TestUpgradeFromNames(t *testing.T) {
	kept := mem.New()
	fill(t, kept, openimds.LocalHost)
	want := dump(t, kept)
	byName, _ := json.Marshal(records.Envelope[int]{Schema: 1, Data: 2})
	changes := []store.Change{{Key: "layout", Value: byName, If: store.Whatever}}
	for key := range want {
		if strings.HasPrefix(key, "instance-id/") {
			changes = append(changes, store.Change{Verb: store.Delete, Key: key, If: store.Whatever})
		}
	}
	if _, err := kept.Commit(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	var left atomic.Int64
	if err := records.Upgrade(t.Context(), interrupted{kept, &left}, openimds.LocalHost); !errors.Is(err, errPower) {
		t.Fatal(err)
	}
	if err := records.Upgrade(t.Context(), kept, openimds.LocalHost); err != nil {
		t.Fatal(err)
	}
	got := dump(t, kept)
	delete(got, "layout")
	if !maps.Equal(got, want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
}

// TestUpgradeOfLater: what a later program wrote is refused and left as it is.
func TestUpgradeOfLater(t *testing.T) {
	kept := mem.New()
	if err := records.Upgrade(t.Context(), kept, openimds.LocalHost); err != nil {
		t.Fatal(err)
	}
	r, err := kept.Get(t.Context(), "layout")
	if err != nil {
		t.Fatal(err)
	}
	var e records.Envelope[int]
	if err := json.Unmarshal(r.Value, &e); err != nil {
		t.Fatal(err)
	}
	e.Data++
	later, _ := json.Marshal(e)
	if _, err := kept.Commit(t.Context(), store.Change{Key: "layout", Value: later, If: store.Whatever}); err != nil {
		t.Fatal(err)
	}
	err = records.Upgrade(t.Context(), kept, openimds.LocalHost)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("have layout %d and this program knows %d; run", e.Data, e.Data-1)) || strings.Contains(err.Error(), "\n") {
		t.Errorf("a later layout: %v", err)
	}
	if now, err := kept.Get(t.Context(), "layout"); err != nil || !bytes.Equal(now.Value, later) {
		t.Errorf("the later layout became %s, %v", now.Value, err)
	}
}

// hasty is a store whose leases have ended by the time that they are given back, and where another host is
// always a little earlier.
type hasty struct{ store.Store }

func (h hasty) Revoke(ctx context.Context, l store.Lease) error {
	return errors.Join(h.Store.Revoke(ctx, l), h.Store.Revoke(ctx, l))
}

func (h hasty) Commit(ctx context.Context, changes ...store.Change) (int64, error) {
	if changes[0].Key == "layout" {
		if _, err := h.Store.Commit(ctx, changes...); err != nil {
			return 0, err
		}
	}
	return h.Store.Commit(ctx, changes...)
}

// TestUpgradeOutlastsLease: an upgrade that is done has not failed, whether its lease ended before it or another
// host has done the same.
func TestUpgradeOutlastsLease(t *testing.T) {
	kept := mem.New()
	fill(t, kept, openimds.LocalHost)
	if err := records.Upgrade(t.Context(), hasty{kept}, openimds.LocalHost); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Get(t.Context(), "layout"); err != nil {
		t.Errorf("the layout is not told: %v", err)
	}
}

// TestLaterSchema: a record of a later program is refused in words that tell the latest schema of its kind that
// this one knows.
func TestLaterSchema(t *testing.T) {
	r := store.Record{Key: "key", Value: []byte(`{"schema":9,"data":{}}`)}
	for known, decode := range map[int]func() error{
		1: func() error { _, err := records.Decode[records.Host](r); return err },
		2: func() error { _, err := records.DecodeInstance(r); return err },
		4: func() error { _, err := records.DecodeAttachment(r); return err },
	} {
		want := fmt.Sprintf("record key has schema 9, this program knows %d: run the newer openimds", known)
		if err := decode(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
