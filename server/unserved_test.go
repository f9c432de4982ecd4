package server

import (
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
)

// carried stands for a host that carries attachments out.
type carried struct{}

func (carried) Guarded() []openimds.GuardedPlace                  { return nil }
func (carried) Release([]string) ([]openimds.GuardedPlace, error) { return nil, nil }
func (carried) Status(string, time.Time) (openimds.AttachmentStatus, bool) {
	return openimds.AttachmentStatus{}, false
}

// openRules opens the store of a data directory, and the rules of its regions on a host that attaches.
func openRules(t *testing.T, cfg Config) (*Server, map[string]*control.Service) {
	t.Helper()
	s := &Server{hosting: hosting{cfg: cfg, log: slog.New(slog.DiscardHandler)}}
	var err error
	s.cfg.DataDir, err = s.cfg.openDataDir()
	must(t, err)
	must(t, s.openStore(t.Context()))
	must(t, s.prepareRegions(t.Context()))
	rules := map[string]*control.Service{}
	for _, r := range s.regions {
		rules[r.region] = control.New(r.kept, control.Config{
			Region: r.region, HomeRegion: s.homeName, Whole: s.store, AccountID: "123456789012", Attachments: carried{},
		})
	}
	return s, rules
}

func wantTaken(t *testing.T, err error, named string) {
	t.Helper()
	if openimds.CodeOf(err) != openimds.InUse || !strings.Contains(err.Error(), named) {
		t.Errorf("a place that another region's instance has: %v, want one that names %q", err, named)
	}
}

// TestPlaceOfAllRegions: a place is its host's, so that what is attached there by one region is in the way of the others, until
// it is there no more.
func TestPlaceOfAllRegions(t *testing.T) {
	cfg := forTest(filepath.Join(t.TempDir(), "data"))
	cfg.MoreRegions, cfg.TransitionTime = []string{"eu-west-1", "us-west-2"}, 0
	s, rules := openRules(t, cfg)
	defer func() { must(t, s.store.Close()) }()
	home, eu, west := rules["us-east-1"], rules["eu-west-1"], rules["us-west-2"]
	for _, service := range rules {
		_, err := service.EnsureInstance(t.Context(), "web")
		must(t, err)
	}
	at := openimds.Attachment{Instance: "web", Interface: "tap0"}
	for _, c := range []struct {
		holder, other *control.Service
		named         string
	}{
		{home, eu, "web of the region us-east-1 "}, {eu, home, "web of the region eu-west-1 "}, {west, eu, "web of the region us-west-2 "},
	} {
		_, err := c.holder.AttachInstance(t.Context(), at)
		must(t, err)
		_, err = c.holder.AttachInstance(t.Context(), at)
		must(t, err) // again, where it is
		_, err = c.other.AttachInstance(t.Context(), at)
		wantTaken(t, err, c.named)
		elsewhere := at
		elsewhere.Interface = "tap1"
		_, err = c.other.AttachInstance(t.Context(), elsewhere)
		must(t, err)
		_, err = c.other.DetachInstance(t.Context(), "web")
		must(t, err)
		_, err = c.holder.DetachInstance(t.Context(), "web")
		must(t, err)
	}

	// As earlier programs wrote it: each region had places of its own.
	_, err := eu.AttachInstance(t.Context(), at)
	must(t, err)
	key := records.PlaceKey(&openimds.Attachment{Host: openimds.LocalHost, Interface: "tap0"})
	was, err := s.store.Get(t.Context(), key)
	must(t, err)
	own := []byte(strings.Replace(string(was.Value), `,"region":"eu-west-1"`, "", 1))
	_, err = s.store.Commit(t.Context(), store.Change{Verb: store.Delete, Key: key, If: was.Revision},
		store.Change{Key: records.RegionKey("eu-west-1") + key, Value: own, If: store.IfAbsent})
	must(t, err)
	for range 2 {
		must(t, records.SharePlaces(t.Context(), s.store, "eu-west-1"))
		_, err = home.AttachInstance(t.Context(), at)
		wantTaken(t, err, "web of the region eu-west-1 ")
	}
	if now, err := s.store.Get(t.Context(), key); err != nil || string(now.Value) != string(was.Value) {
		t.Errorf("the place carried over is %s, %v; want %s", now.Value, err, was.Value)
	}
}

// TestUnservedRegion: whoever leaves out a region that has instances is told so, and so is whoever asks whether all is well.
func TestUnservedRegion(t *testing.T) {
	cfg := forTest(filepath.Join(t.TempDir(), "data"))
	cfg.MoreRegions, cfg.TransitionTime = []string{"eu-west-1", "us-west-2"}, 0
	s, rules := openRules(t, cfg)
	for _, region := range []string{"us-east-1", "us-west-2"} {
		for _, name := range []string{"demo", "web"} {
			_, err := rules[region].EnsureInstance(t.Context(), name)
			if err != nil { // it makes the first one alone
				_, err = rules[region].CreateInstances(t.Context(), control.InstancesLaunch{Names: []string{name}, Zone: region + "a", BlueprintID: "debian_12", BundleID: "nano_3_0"})
			}
			must(t, err)
		}
	}
	_, err := rules["us-east-1"].AttachInstance(t.Context(), openimds.Attachment{Instance: "web", Interface: "openimds-none"})
	must(t, err)
	must(t, s.store.Close())

	for _, c := range []struct {
		regions []string
		want    []UnservedRegion
		ready   int
		says    string
	}{
		{[]string{"eu-west-1"}, []UnservedRegion{{"us-east-1", 2, 1}, {"us-west-2", 2, 0}}, http.StatusServiceUnavailable, "1 attachments are not answered: their region us-east-1 is not served"},
		{[]string{"eu-west-1", "us-west-2", "us-east-1"}, nil, 0, ""},
	} {
		var log strings.Builder
		cfg.Region, cfg.MoreRegions, cfg.Log = c.regions[0], c.regions[1:], slog.New(slog.NewTextHandler(&log, nil))
		i := openInstallation(t, cfg)
		got := i.server.Unserved()
		if len(got) != len(c.want) {
			t.Fatalf("serving %s, %+v are not served, want %+v", c.regions, got, c.want)
		}
		for n, u := range got {
			if u != c.want[n] {
				t.Errorf("serving %s, %+v is not served, want %+v", c.regions, u, c.want[n])
			}
		}
		answer, err := http.Get(i.server.APIURL() + "/readyz")
		must(t, err)
		text, err := io.ReadAll(answer.Body)
		must(t, err)
		must(t, answer.Body.Close())
		if c.ready != 0 && answer.StatusCode != c.ready || !strings.Contains(string(text), c.says) || c.says == "" && strings.Contains(string(text), "not served") {
			t.Errorf("serving %s, readiness is %s: %s", c.regions, answer.Status, text)
		}
		i.stop()
		for _, u := range c.want {
			if !strings.Contains(log.String(), "region="+u.Region+" instances=2") {
				t.Errorf("the log does not tell of %s:\n%s", u.Region, log.String())
			}
		}
	}
}
