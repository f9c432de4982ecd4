package control_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/store"
)

// made is a new instance as NewInstance makes it, before it is added.
func made(name string) *openimds.Instance {
	return openimds.NewInstance(openimds.Launch{Name: name, Region: "us-east-1"}, start)
}

func TestAddInstance(t *testing.T) {
	f := newFixture(t, nil)
	in := made("web")
	in.ID = "i-0123456789abcdef0"
	in.NICs[0].PrivateIPv4 = []netip.Addr{netip.MustParseAddr("10.1.2.3")}
	op, err := f.AddInstance(t.Context(), in)
	if err != nil || op.Type != "CreateInstance" || op.Resource != "web" || op.Status != openimds.OperationSucceeded {
		t.Fatalf("AddInstance: %+v, %v", op, err)
	}
	got, err := f.Instance(t.Context(), "web")
	if err != nil || got.ID != in.ID || got.NICs[0].PrivateIPv4[0] != in.NICs[0].PrivateIPv4[0] || string(got.TokenKey) != string(in.TokenKey) {
		t.Errorf("it was added as %+v (%v)", got, err)
	}
	if _, err := f.AddInstance(t.Context(), made("web")); openimds.CodeOf(err) != openimds.NameTaken {
		t.Errorf("a second one of the same name: %v", err)
	}
	// It is one like all others from then on.
	if _, err := f.StopInstance(t.Context(), "web"); err != nil {
		t.Error(err)
	}
}

// TestAddInstanceRefuses spoils one thing after the other: each is refused, and nothing is stored.
func TestAddInstanceRefuses(t *testing.T) {
	f := newFixture(t, nil)
	for what, spoil := range map[string]func(*openimds.Instance){
		"name":        func(in *openimds.Instance) { in.Name = "a b" },
		"id":          func(in *openimds.Instance) { in.ID = "i-x" },
		"stopped":     func(in *openimds.Instance) { in.State = openimds.StateStopped },
		"pending":     func(in *openimds.Instance) { in.Options.State = openimds.OptionsPending },
		"operation":   func(in *openimds.Instance) { in.OptionsOperation = "x" },
		"tokens":      func(in *openimds.Instance) { in.Options.Tokens = "sometimes" },
		"hops":        func(in *openimds.Instance) { in.Options.HopLimit = 65 },
		"IPv6":        func(in *openimds.Instance) { in.Options.IPv6 = openimds.EndpointEnabled }, // not allowed here
		"token key":   func(in *openimds.Instance) { in.TokenKey = in.TokenKey[:31] },
		"region":      func(in *openimds.Instance) { in.Region, in.Zone = "eu-west-1", "eu-west-1a" },
		"zone":        func(in *openimds.Instance) { in.Zone = "eu-west-1a" },
		"zone's end":  func(in *openimds.Instance) { in.Zone = "us-east-1z" },
		"zone's form": func(in *openimds.Instance) { in.Zone = "us-east-1a\n" },
		"events":      func(in *openimds.Instance) { in.Events.LifecycleState = "InService" },
		"event time":  func(in *openimds.Instance) { in.Events.RebalanceAt = time.Unix(1, 0) },
		"recording":   func(in *openimds.Instance) { in.Recording = aRecording("") },
		"faults":      func(in *openimds.Instance) { in.Faults = &openimds.Faults{} },
		"owner":       func(in *openimds.Instance) { in.OwnerID = "12" },
		"image":       func(in *openimds.Instance) { in.ImageID = "ami-xyz" },
		"type":        func(in *openimds.Instance) { in.InstanceType = "big" },
		"role":        func(in *openimds.Instance) { in.Role.Name = "a/b" },
		"user data":   func(in *openimds.Instance) { in.UserData = make([]byte, openimds.MaxUserData+1) },
		"tags":        func(in *openimds.Instance) { in.Tags = []openimds.Tag{{Key: "aws:x"}} },
		"shown tags": func(in *openimds.Instance) {
			in.Tags, in.Options.Tags = []openimds.Tag{{Key: "a/b"}}, openimds.EndpointEnabled
		},
		"overlay":       func(in *openimds.Instance) { in.Overlay = map[string]*string{"/meta-data/x": nil} },
		"key's name":    func(in *openimds.Instance) { in.PublicKeys = []openimds.PublicKey{{Name: "a b", Key: "x"}} },
		"key's lines":   func(in *openimds.Instance) { in.PublicKeys = []openimds.PublicKey{{Name: "a", Key: "x\ny"}} },
		"no interface":  func(in *openimds.Instance) { in.NICs = nil },
		"MAC":           func(in *openimds.Instance) { in.NICs[0].MAC = "06-00-00-00-00-01" },
		"long MAC":      func(in *openimds.Instance) { in.NICs[0].MAC = "06:00:00:00:00:01:02:03" },
		"same MAC":      func(in *openimds.Instance) { in.NICs = append(in.NICs, in.NICs[0]) },
		"host name":     func(in *openimds.Instance) { in.NICs[0].LocalHostname = "a b" },
		"private":       func(in *openimds.Instance) { in.NICs[0].PrivateIPv4[0] = netip.MustParseAddr("::1") },
		"no public":     func(in *openimds.Instance) { in.NICs[0].Associations[0].Public = netip.Addr{} },
		"zoned address": func(in *openimds.Instance) { in.NICs[0].IPv6[0] = netip.MustParseAddr("fe80::1%eth0") },
	} {
		in := made("web")
		spoil(in)
		if _, err := f.AddInstance(t.Context(), in); openimds.KindOf(err) != openimds.InvalidInput || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if page, err := f.store.List(t.Context(), store.Range{}); err != nil || len(page.Records) != 0 {
		t.Errorf("what was refused left %d records (%v)", len(page.Records), err)
	}
	if _, err := f.AddInstance(t.Context(), made("web")); err != nil {
		t.Errorf("unspoilt: %v", err)
	}
}
