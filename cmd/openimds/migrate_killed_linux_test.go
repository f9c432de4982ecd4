package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/lightsail"
	"github.com/openimds/openimds/api/sigv4"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/migrate"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
)

// servedFleet is a service in this process that really listens, for a command that is killed beside it.
type servedFleet struct {
	service *control.Service
	url     string
	guests  map[string]string // the addresses of those who are called
}

func serveFleet(t *testing.T, n int, called ...string) *servedFleet {
	t.Helper()
	kept := mem.New()
	meter := usage.NewMeter(usage.Config{Store: kept, History: history.New(history.Config{Store: kept})})
	f := &servedFleet{guests: map[string]string{}}
	f.service = control.New(kept, control.Config{Region: "us-east-1", AccountID: "123456789012", History: meter, Callers: meter, Refusals: meter})
	side := guestside.New(guestside.Config{Store: kept, Marker: f.service, IMDS: imds.Config{Usage: meter}})
	var names []string
	for i := range n {
		in := openimds.NewInstance(openimds.Launch{Name: fmt.Sprintf("web-%d", i), Region: "us-east-1"}, time.Now())
		in.Options.HopLimit = 1 + i%5
		value, err := records.EncodeInstance(in)
		must(t, err)
		_, err = kept.Commit(t.Context(), store.Change{Key: records.InstancePrefix + in.Name, Value: value, If: store.IfAbsent})
		must(t, err)
		names = append(names, in.Name)
	}
	must(t, side.SeatAll(t.Context(), names))
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, name := range called {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		f.guests[name] = l.Addr().String()
		running.Go(func() { _ = side.Serve(l, name) })
	}
	running.Go(func() { side.Run(ctx) })
	running.Go(func() { meter.Run(ctx) })
	auth := sigv4.New(sigv4.Config{Regions: []string{"us-east-1"}, Keys: func(id string) (accesskeys.Key, bool, error) {
		return accesskeys.Key{ID: "AKIDEXAMPLE", Secret: "secret"}, id == "AKIDEXAMPLE", nil
	}})
	server := httptest.NewServer(api.New(api.Config{Protocols: []api.Protocol{lightsail.New(lightsail.Config{Service: f.service})}, Auth: auth}))
	f.url = server.URL
	t.Cleanup(func() {
		stop()
		server.Close()
		_ = side.Shutdown(context.Background())
		running.Wait()
	})
	return f
}

// keepCalling calls an instance without a token until the test ends, and before each call does what else there is to
// be done. Once tokens are required it calls until it is refused, at once: on a busy machine the time of a plan may be over
// before that of a caller.
func (f *servedFleet) keepCalling(t *testing.T, name string, every time.Duration, before func()) {
	done := make(chan struct{})
	var calling sync.WaitGroup
	calling.Go(func() {
		refused := false
		for {
			for began := time.Now(); time.Since(began) < every; {
				select {
				case <-done:
					return
				case <-time.After(10 * time.Millisecond):
				}
				in, err := f.service.Instance(context.Background(), name)
				if err != nil {
					t.Error(err)
					return
				}
				refused = refused && in.Options.Tokens == openimds.TokensRequired
				if in.Options.Tokens == openimds.TokensRequired && !refused {
					break
				}
			}
			before()
			resp, err := http.Get("http://" + f.guests[name] + "/latest/meta-data/ami-id")
			if err != nil {
				t.Error(err)
				continue
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			refused = resp.StatusCode == http.StatusUnauthorized
		}
	})
	t.Cleanup(func() { close(done); calling.Wait() })
}

func (f *servedFleet) options(t *testing.T) map[string]openimds.MetadataOptions {
	t.Helper()
	options := map[string]openimds.MetadataOptions{}
	for after := ""; ; {
		page, next, err := f.service.Instances(t.Context(), after, 100)
		must(t, err)
		for _, in := range page {
			options[in.Name] = in.Options
		}
		if after = next; next == "" {
			return options
		}
	}
}

// lines are how many a journal has.
func lines(file string) int {
	text, _ := os.ReadFile(file)
	return bytes.Count(text, []byte("\n"))
}

// TestMigrateKilled has the real program require tokens of 200 instances, three of which are still called without one:
// often, seldom, at each boot. It is killed at random moments and gone on from each time. In the end 197 are required,
// the three are as they were, and nothing else was touched. RESTARTS is how often it is killed.
func TestMigrateKilled(t *testing.T) {
	t.Parallel()
	const often, seldom, boot = "web-20", "web-120", "web-190"
	f := serveFleet(t, 200, often, seldom, boot)
	before := f.options(t)
	f.keepCalling(t, often, 200*time.Millisecond, func() {})
	f.keepCalling(t, seldom, 2*time.Second, func() {})
	f.keepCalling(t, boot, time.Second, func() { _, _ = f.service.RebootInstance(context.Background(), boot) })

	dir := t.TempDir()
	plan := filepath.Join(dir, "plan.yaml")
	must(t, os.WriteFile(plan, []byte("plan: 1\nprovider: openimds\ncriteria: {window: 1s, calls: 1000000}\nhold: 5s\nwaves:\n"+
		"  - {name: canary, names: [web-0, web-1]}\n  - {name: half, names: [web-*], share: 50%}\n  - {name: rest, rest: true}\n"), 0o600))
	migrates := func(word string) *exec.Cmd {
		cmd := command(filepath.Join(dir, "none"), "migrate", word, plan, "--yes")
		cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL_LIGHTSAIL="+f.url, "AWS_ACCESS_KEY_ID=AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY=secret", "AWS_REGION=us-east-1", "HOME="+dir)
		return cmd
	}
	journal := migrate.JournalOf(plan)
	killed, word := 0, "apply"
	kills := times(t, "RESTARTS", 8)
	for tries := 0; killed < kills && tries < 3*kills; tries++ {
		at := lines(journal) + 1 + rand.IntN(30)
		cmd := migrates(word)
		must(t, cmd.Start())
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		for there := true; there && lines(journal) < at; {
			select {
			case <-ended:
				there = false
			case <-time.After(time.Millisecond):
			}
		}
		if cmd.Process.Kill() == nil {
			killed++
			<-ended
		}
		if lines(journal) > 0 {
			word = "resume"
		}
	}
	returned := map[string]bool{often: true, seldom: true, boot: true}
	goOn := func(word string) (out []byte) {
		for err, tries := error(io.EOF), 0; err != nil && tries < 20; tries++ {
			if out, err = migrates(word).CombinedOutput(); strings.Contains(string(out), "nothing that could be gone on with") {
				break // a process was killed behind its last line
			}
			word = "resume"
		}
		return out
	}
	out := goOn("resume")
	for tries := 0; skips(t, journal, returned) && tries < 20; tries++ { // what could not be found out in time on a busy machine
		out = goOn("apply")
	}
	t.Logf("killed %d times", killed)
	checkMigrated(t, f, before, returned, journal, out)
}

// skips says whether the latest plan of a journal left instances as they were of which nothing was known.
func skips(t *testing.T, journal string, returned map[string]bool) (skipped bool) {
	t.Helper()
	all, err := migrate.ReadJournal(journal)
	must(t, err)
	for _, r := range all {
		switch {
		case r.Kind == migrate.Began:
			skipped = false
		case r.Kind == migrate.Skipped && !returned[r.Instance.Name] && strings.HasPrefix(r.Reason, string(migrate.Unknown)):
			t.Logf("%s was left: %s", r.Instance.Name, r.Reason)
			skipped = true
		}
	}
	return skipped
}

func checkMigrated(t *testing.T, f *servedFleet, before map[string]openimds.MetadataOptions, returned map[string]bool, journal string, out []byte) {
	t.Helper()
	for name, now := range f.options(t) {
		want := before[name]
		if !returned[name] {
			want.Tokens = openimds.TokensRequired
		}
		if now != want {
			t.Errorf("%s: %+v; want %+v", name, now, want)
		}
	}
	all, err := migrate.ReadJournal(journal)
	must(t, err)
	if last := all[len(all)-1]; last.Kind != migrate.Finished {
		text, _ := json.Marshal(last)
		t.Errorf("the journal ends with %s\n%s", text, out)
	}
	for _, r := range all {
		switch {
		case r.Kind == migrate.Returning && !returned[r.Instance.Name]:
			t.Errorf("%s was brought back: %s", r.Instance, r.Reason)
		case r.Kind == migrate.Returning:
			t.Logf("%s: brought back %s after the latest refusal", r.Instance.Name, r.Time.Sub(r.Refusals[0].Time))
		}
	}
}
