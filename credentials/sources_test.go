package credentials

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/credentials/generated"
)

func withRole(name, role string) *openimds.Instance {
	in := openimds.NewInstance(openimds.Launch{Name: name, Region: "eu-west-1"}, time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC))
	in.Role = &openimds.Role{Name: role}
	return in
}

// fake is a source that counts, takes its time, and fails on demand.
type fake struct {
	fetches atomic.Int64
	takes   time.Duration
	life    time.Duration
	down    atomic.Bool
}

func (f *fake) source(ofInstance bool) *Source {
	return &Source{name: "fake", ofInstance: ofInstance, fetch: func(ctx context.Context, in *openimds.Instance, set openimds.CredentialSet) (aws.Credentials, error) {
		n := f.fetches.Add(1)
		select {
		case <-ctx.Done():
			return aws.Credentials{}, ctx.Err()
		case <-time.After(f.takes):
		}
		if f.down.Load() {
			return aws.Credentials{}, said("the source is down")
		}
		return aws.Credentials{
			AccessKeyID: fmt.Sprint("ASIA", n), SecretAccessKey: "canary-secret", SessionToken: "canary-token",
			CanExpire: f.life > 0, Expires: time.Now().Add(f.life),
		}, nil
	}}
}

func newSources(t *testing.T, log *bytes.Buffer, byRole map[string]*Source) *Sources {
	t.Helper()
	if log == nil {
		log = new(bytes.Buffer)
	}
	s := NewSources(byRole, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(s.Close)
	return s
}

func TestStormFetchesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{takes: 3 * time.Second, life: 6 * time.Hour}
		s := newSources(t, nil, map[string]*Source{AnyRole: f.source(false)})
		guests := make([]*openimds.Instance, 1000)
		for i := range guests {
			guests[i] = withRole(fmt.Sprint("web-", i), "app")
			s.Keep(guests[i])
		}
		before := time.Now()
		for _, in := range guests { // nothing is there yet, and nobody waits for it
			if c := s.Credentials(in, openimds.RoleForV2, time.Now()); c.Code != openimds.CredentialsUnauthorized || c.AccessKeyID != "" {
				t.Fatalf("before the first fetch: %+v", c)
			}
		}
		if waited := time.Since(before); waited > 0 {
			t.Errorf("guests waited %v", waited)
		}
		time.Sleep(4 * time.Second)
		var storm sync.WaitGroup
		for _, in := range guests {
			storm.Go(func() {
				if c := s.Credentials(in, openimds.RoleForV1, time.Now()); c.Code != openimds.CredentialsSuccess || c.AccessKeyID != "ASIA1" {
					t.Errorf("%+v", c)
				}
			})
		}
		storm.Wait()
		if n := f.fetches.Load(); n != 1 {
			t.Errorf("%d fetches, want 1", n)
		}
		// While the next set is on its way, guests read the one that there is, and do not wait.
		for f.fetches.Load() == 1 {
			time.Sleep(time.Second)
		}
		before = time.Now()
		for _, in := range guests {
			if c := s.Credentials(in, openimds.RoleForV2, time.Now()); c.AccessKeyID != "ASIA1" {
				t.Fatalf("during the second fetch: %+v", c)
			}
		}
		if waited := time.Since(before); waited > 0 {
			t.Errorf("guests waited %v", waited)
		}
		time.Sleep(4 * time.Second)
		if c := s.Credentials(guests[999], openimds.RoleForV2, time.Now()); c.AccessKeyID != "ASIA2" || f.fetches.Load() != 2 {
			t.Errorf("after %d fetches: %+v", f.fetches.Load(), c)
		}
	})
}

// A clock that is set, by an hour either way and at any moment, costs guests a minute without
// credentials at most: when it is set forward past the end of what they had.
func TestClockIsSet(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		for _, life := range []time.Duration{15 * time.Minute, time.Hour, 6 * time.Hour} {
			for _, after := range []time.Duration{time.Second, 7 * time.Minute, 31 * time.Minute, 55 * time.Minute, 3 * time.Hour} {
				synctest.Test(t, func(t *testing.T) {
					var off atomic.Int64
					now := func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
					f := &fake{}
					source := f.source(true)
					source.fetch = func(ctx context.Context, in *openimds.Instance, set openimds.CredentialSet) (aws.Credentials, error) {
						n := f.fetches.Add(1) // what brings them goes by the same clock
						return aws.Credentials{AccessKeyID: fmt.Sprint("ASIA", n), SecretAccessKey: "s", SessionToken: "t", CanExpire: true, Expires: now().Add(life)}, nil
					}
					s := newSources(t, nil, map[string]*Source{AnyRole: source})
					s.now = now
					in := withRole("web-1", "app")
					s.Keep(in)
					time.Sleep(after)
					off.Store(int64(step))
					without := time.Duration(0)
					for at := time.Duration(0); at < 26*time.Hour; at += 10 * time.Second {
						c := s.Credentials(in, openimds.RoleForV2, now())
						if c.Code != openimds.CredentialsSuccess || !c.Expiration.After(now()) {
							without += 10 * time.Second
						}
						time.Sleep(10 * time.Second)
					}
					if allowed := lookAtClock + 10*time.Second; without > allowed || without > 0 && step < 0 {
						t.Errorf("set by %v after %v, sets that live for %v: %v without credentials", step, after, life, without)
					}
					if n := f.fetches.Load(); n < 48 || n > 500 {
						t.Errorf("set by %v after %v, sets that live for %v: %d fetches", step, after, life, n)
					}
				})
			}
		}
	}
}

func TestRefreshedAhead(t *testing.T) {
	for _, life := range []time.Duration{6 * time.Hour, time.Hour, 10 * time.Minute, 0} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{life: life}
				s := newSources(t, nil, map[string]*Source{"app": f.source(true)})
				in := withRole("web-1", "app")
				s.Keep(in)
				for range 24 * 60 {
					time.Sleep(time.Minute)
					c := s.Credentials(in, openimds.RoleForV2, time.Now())
					left := time.Until(c.Expiration)
					if c.Code != openimds.CredentialsSuccess || left < min(5*time.Minute, 4*time.Minute+life/20) && life >= time.Hour || left <= 0 {
						t.Fatalf("%s with %v left", c.Code, left)
					}
					if time.Since(c.LastUpdated) > time.Hour+time.Second {
						t.Fatalf("a set is %v old", time.Since(c.LastUpdated))
					}
				}
			})
		})
	}
}

func TestSourceDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &fake{life: 2 * time.Hour}
		s := newSources(t, &log, map[string]*Source{AnyRole: f.source(false)})
		in := withRole("web-1", "app")
		s.Keep(in)
		time.Sleep(time.Second)
		f.down.Store(true)
		time.Sleep(110 * time.Minute)
		last := s.Credentials(in, openimds.RoleForV2, time.Now())
		if last.Code != openimds.CredentialsSuccess {
			t.Errorf("a source that is down took away a set that holds: %+v", last)
		}
		time.Sleep(20 * time.Minute)
		c := s.Credentials(in, openimds.RoleForV2, time.Now())
		if c.Code != openimds.CredentialsUnauthorized || !strings.HasPrefix(c.Message, "EC2 cannot assume the role app.  Please see") || len(c.SecretAccessKey) > 0 {
			t.Errorf("after the end of the last set: %+v", c)
		}
		f.down.Store(false)
		time.Sleep(lastRetry + time.Second)
		if c := s.Credentials(in, openimds.RoleForV2, time.Now()); c.Code != openimds.CredentialsSuccess || c.AccessKeyID == last.AccessKeyID {
			t.Errorf("a source that is back is not used: %+v", c)
		}
		s.Close()
		text := log.String()
		if !strings.Contains(text, "the source is down") || strings.Contains(text, "canary") {
			t.Errorf("the log:\n%s", text)
		}
		// Both are told once, and the first from time to time until there is something new to tell.
		for message, most := range map[string]int{"cannot be renewed; guests have": 12, "have expired": 3, "are fetched again": 1} {
			if n := strings.Count(text, message); n < 1 || n > most {
				t.Errorf("%q is in the log %d times", message, n)
			}
		}
	})
}

func TestKeepAndDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{life: 6 * time.Hour}
		s := newSources(t, nil, map[string]*Source{"app": f.source(true), "other": nil})
		in := withRole("web-1", "app")
		s.Keep(in)
		time.Sleep(time.Second)
		v1, v2 := s.Credentials(in, openimds.RoleForV1, time.Now()), s.Credentials(in, openimds.RoleForV2, time.Now())
		if v1.AccessKeyID == v2.AccessKeyID {
			t.Error("requests with and without a token get the same set")
		}
		s.Keep(in) // a change of something else
		synctest.Wait()
		if n := f.fetches.Load(); n != 2 || s.Credentials(in, openimds.RoleForV2, time.Now()).AccessKeyID != v2.AccessKeyID {
			t.Errorf("%d fetches after the same role was kept again, want 2", n)
		}
		other := *in
		other.Role = &openimds.Role{Name: "other"}
		s.Keep(&other)
		if c := s.Credentials(&other, openimds.RoleForV2, time.Now()); c.AccessKeyID != (generated.Source{}).Credentials(&other, openimds.RoleForV2, time.Now()).AccessKeyID {
			t.Error("a role without a source does not get generated credentials")
		}
		s.Drop(in.ID)
		time.Sleep(48 * time.Hour)
		if n := f.fetches.Load(); n != 2 {
			t.Errorf("%d fetches, for an instance that is gone", n)
		}
		if c := s.Credentials(in, openimds.RoleForV2, time.Now()); c.Code == openimds.CredentialsSuccess {
			t.Error("an instance that was dropped still has credentials")
		}
		if c := s.Credentials(in, openimds.InstanceIdentity, time.Now()); c.Code != openimds.CredentialsSuccess {
			t.Error("the instance's own set needs a source")
		}
	})
}

func TestParseSource(t *testing.T) {
	for _, spec := range []string{
		"static:/x", "profile:dev", "process:/bin/true", "assume-role:arn:aws:iam::123456789012:role/x",
		"assume-role:arn:aws:iam::123456789012:role/x?duration=2h&external-id=e&region=eu-west-1&session-tags=true&profile=base&endpoint=http://127.0.0.1:1",
	} {
		if source, err := ParseSource(spec); err != nil || source == nil {
			t.Errorf("%s: %v", spec, err)
		}
	}
	if source, err := ParseSource("generated"); err != nil || source != nil {
		t.Errorf("generated: %v, %v", source, err)
	}
	for _, spec := range []string{"", "x", "static", "profile:", "magic:1", "assume-role:role/x", "assume-role:arn:x?colour=red", "assume-role:arn:x?duration=1m", "assume-role:arn:x?session-tags=perhaps"} {
		if _, err := ParseSource(spec); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want one line", spec, err)
		}
	}
}

// first waits, in real time, for what a source brings first.
func first(t *testing.T, spec string) openimds.RoleCredentials {
	t.Helper()
	source, err := ParseSource(spec)
	if err != nil {
		t.Fatal(err)
	}
	c, err := source.fetch(t.Context(), withRole("web-1", "app"), openimds.RoleForV2)
	if err != nil {
		t.Fatal(err)
	}
	return openimds.RoleCredentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: openimds.Secret(c.SecretAccessKey), Token: openimds.Secret(c.SessionToken), Expiration: c.Expires}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "keys")
	text := "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = s\n\n[prod]\naws_access_key_id = AKIAPROD\naws_secret_access_key = p\naws_session_token = t\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "none"))
	if c := first(t, "static:"+file); c.AccessKeyID != "AKIAFILE" || string(c.SecretAccessKey) != "s" {
		t.Errorf("static: %s", c.AccessKeyID)
	}
	if c := first(t, "profile:prod"); c.AccessKeyID != "AKIAPROD" || string(c.Token) != "t" {
		t.Errorf("profile: %s", c.AccessKeyID)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if c := first(t, `process:echo '{"Version":1,"AccessKeyId":"AKIAPROCESS","SecretAccessKey":"s","SessionToken":"t","Expiration":"2036-01-01T00:00:00Z"}'`); c.AccessKeyID != "AKIAPROCESS" || c.Expiration.Year() != 2036 {
		t.Errorf("process: %s", c.AccessKeyID)
	}
}

func TestAssumeRole(t *testing.T) {
	asked := make(chan url.Values, 1)
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		asked <- r.Form
		w.Header().Set("Content-Type", "text/xml")
		_, _ = fmt.Fprint(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
			<AccessKeyId>ASIASTS</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
			<Expiration>2036-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`)
	}))
	defer sts.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIABASE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "base")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	arn := "arn:aws:iam::123456789012:role/app"
	source, err := ParseSource("assume-role:" + arn + "?external-id=partner&duration=2h&session-tags=true&endpoint=" + url.QueryEscape(sts.URL))
	if err != nil {
		t.Fatal(err)
	}
	in := withRole("web-1", "app")
	c, err := source.fetch(t.Context(), in, openimds.RoleForV2)
	if err != nil || c.AccessKeyID != "ASIASTS" || !c.CanExpire {
		t.Fatalf("%s, %v", c.AccessKeyID, err)
	}
	form := <-asked
	for name, want := range map[string]string{
		"Action": "AssumeRole", "RoleArn": arn, "RoleSessionName": in.ID, "ExternalId": "partner", "DurationSeconds": "7200",
		"Tags.member.1.Key": "instance-id", "Tags.member.1.Value": in.ID, "Tags.member.2.Key": "instance-name", "Tags.member.2.Value": "web-1",
	} {
		if got := form.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
}

// What a source brings that has ended already does not take the place of what there is.
func TestExpiredIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &fake{life: 2 * time.Hour}
		var ended atomic.Bool
		source := f.source(false)
		fresh := source.fetch
		source.fetch = func(ctx context.Context, in *openimds.Instance, set openimds.CredentialSet) (aws.Credentials, error) {
			keys, err := fresh(ctx, in, set)
			if ended.Load() {
				keys.Expires = time.Now().Add(-time.Second)
			}
			return keys, err
		}
		s := newSources(t, &log, map[string]*Source{AnyRole: source})
		in := withRole("web-1", "app")
		s.Keep(in)
		time.Sleep(time.Second)
		is := func(state string) {
			t.Helper()
			if held := s.Held(); held[HeldState{"fake", state}] != 1 || len(held) != 1 {
				t.Errorf("%v, not %s", held, state)
			}
		}
		is("fresh")
		ended.Store(true)
		time.Sleep(110 * time.Minute)
		if c := s.Credentials(in, openimds.RoleForV2, time.Now()); c.Code != openimds.CredentialsSuccess || !c.Expiration.After(time.Now()) {
			t.Errorf("%+v", c)
		}
		is("stale")
		time.Sleep(10*time.Minute + time.Second)
		if c := s.Credentials(in, openimds.RoleForV2, time.Now()); c.Code != openimds.CredentialsUnauthorized {
			t.Errorf("%+v", c)
		}
		is("none")
		synctest.Wait()
		if !strings.Contains(log.String(), "level=ERROR msg=\"role credentials have expired") { // within a second of it
			t.Errorf("the log:\n%s", log.String())
		}
		ended.Store(false)
		time.Sleep(lastRetry)
		is("fresh")
		s.Close()
	})
}

// However many sets fail, the log is told little, and how much it is not told.
func TestFailuresAreToldBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &fake{life: time.Hour}
		f.down.Store(true)
		s := newSources(t, &log, map[string]*Source{AnyRole: f.source(true)})
		for i := range 1000 {
			s.Keep(withRole(fmt.Sprint("web-", i), "app"))
		}
		time.Sleep(time.Hour)
		s.Close()
		if lines := strings.Count(log.String(), "\n"); lines < tellBurst || lines > tellBurst+int(time.Hour/tellEvery)+1 {
			t.Errorf("%d lines in an hour", lines)
		}
		if !strings.Contains(log.String(), "withheld=") {
			t.Error("what was withheld is not told")
		}
	})
}

// A service that is silent is not waited for without an end, which no context of ours brings about.
func TestQuestionsToServicesEnd(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "credentials")
	writeFile(t, file, "[default]\naws_access_key_id = AKIAX\naws_secret_access_key = s\n")
	cfg, err := Find(t.Context(), Search{ConfigFiles: []string{}, CredentialsFiles: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	client, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok || client.GetTimeout() != fetchTime {
		t.Errorf("questions to services are asked by %T, without the bound of an attempt", cfg.HTTPClient)
	}
}

// What is wrong with credentials is said alike each time: who reads the log takes other words for another fault.
func TestUsableSaysTheSame(t *testing.T) {
	first := usable(aws.Credentials{}, time.Now())
	for range 100 {
		if err := usable(aws.Credentials{}, time.Now()); err == nil || err.Error() != first.Error() {
			t.Fatalf("%v, then %v", first, err)
		}
	}
}
