package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/attest"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/migrate"
	"github.com/openimds/openimds/migrate/report"
)

// judge is how "openimds migrate" looks at an installation.
func (i *installation) judge(t *testing.T) migrate.OpenIMDS {
	t.Helper()
	keys := aws.CredentialsProviderFunc(func(_ context.Context) (aws.Credentials, error) { return i.client.key, nil })
	api, err := client.New(client.Config{Endpoint: i.server.APIURL(), Region: "us-east-1", Credentials: keys})
	must(t, err)
	return migrate.NewOpenIMDS(api)
}

// What the page is told of instances is what the command tells, word for word; who is not there is left out.
func TestMigrationVerdicts(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(filepath.Join(t.TempDir(), "data")))
	s := i.server.Service()
	_, err := s.CreateInstances(t.Context(), control.InstancesLaunch{Names: []string{"quiet", "required"}, Zone: "us-east-1a", BlueprintID: "debian_12", BundleID: "nano_3_0"})
	must(t, err)
	_, err = s.UpdateOptions(t.Context(), "required", openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)})
	must(t, err)
	_, err = s.StartRehearsal(t.Context(), "quiet", openimds.RehearseShadow, 0, time.Hour)
	must(t, err)
	i.asks(t, "latest/meta-data/ami-id", "", "old-agent/1.0")
	p := i.judge(t)
	all, err := p.Instances(t.Context())
	must(t, err)
	var told wire.GetMigrationVerdictsResult
	names := []string{"demo", "absent", "quiet", "required"}
	var want []migrate.Assessment
	// The caller is told of a moment later than the call.
	must(t, eventually(func() bool {
		must(t, i.client.call(t.Context(), targetOpenIMDS+"GetMigrationVerdicts", wire.GetMigrationVerdictsRequest{InstanceNames: names}, &told))
		want = migrate.Status(t.Context(), p, all, migrate.DefaultCriteria(), time.Now())
		return len(told.Verdicts) == 3 && told.Verdicts[0].Reason == want[0].Reason && strings.Contains(want[0].Reason, "old-agent/1.0")
	}))
	for n, v := range told.Verdicts {
		a := want[n]
		if v.InstanceName != a.Name || v.Verdict != string(a.Verdict) || v.Reason != a.Reason || !reflect.DeepEqual(v.NoToken, a.NoToken) || !reflect.DeepEqual(v.Rejected, a.Rejected) {
			t.Errorf("%s: the page is told %+v, the command %+v", a.Name, v, a)
		}
		if rehearses := v.Rehearsal != nil && v.Rehearsal.Mode == openimds.RehearseShadow; rehearses != (v.InstanceName == "quiet") {
			t.Errorf("%s: the rehearsal is %+v", v.InstanceName, v.Rehearsal)
		}
	}
	verdicts := []string{told.Verdicts[0].Verdict, told.Verdicts[1].Verdict, told.Verdicts[2].Verdict}
	if !slices.Equal(verdicts, []string{"not yet", "unknown", "done"}) {
		t.Errorf("the verdicts are %q", verdicts) // nobody answers the quiet one's guest
	}
	// A key that only looks may see it: the verdicts name no one but callers, whom it may see too.
	reader := i.readOnlyKey(t)
	b := newBrowser(t, i.server.APIURL())
	b.signIn(reader.ID, reader.Secret)
	if status, answer := b.ask("POST", "api/GetMigrationVerdicts", `{"instanceNames":["demo"]}`); status != http.StatusOK || !strings.Contains(answer, "old-agent/1.0") {
		t.Errorf("a key that only looks is told %d %s", status, answer)
	}
	for body, words := range map[string]string{
		`{"instanceNames":[]}`: "A request is of 1 to 50 instances, not of 0",
		`{"instanceNames":["` + strings.Repeat(`a","`, 50) + `a"]}`: "A request is of 1 to 50 instances, not of 51",
		`{"instanceNames":["demo"],"windowSeconds":60}`:             "A window is of an hour to 62 days",
	} {
		if status, answer := b.ask("POST", "api/GetMigrationVerdicts", body); status != http.StatusBadRequest || !strings.Contains(answer, words) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
}

// The report of the page is the command's, signed for who asked for it, and for nobody that may only look.
func TestMigrationReport(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(filepath.Join(t.TempDir(), "data")))
	i.asks(t, "latest/meta-data/ami-id", "", "<script>alert(1)</script>")
	b := newBrowser(t, i.server.APIURL())
	b.signIn(i.client.key.AccessKeyID, i.client.key.SecretAccessKey)
	ask := func(form string) (told wire.GetMigrationReportResult) {
		status, answer := b.ask("POST", "api/GetMigrationReport", `{"form":"`+form+`"}`)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", form, status, answer)
		}
		must(t, json.Unmarshal([]byte(answer), &told))
		return told
	}
	var key wire.GetReportKeyResult
	must(t, i.client.call(t.Context(), targetOpenIMDS+"GetReportKey", wire.Nothing{}, &key))
	for _, form := range []string{"html", "json"} {
		told := ask(form)
		stated, err := attest.Verify([]byte(told.Report), attest.Fingerprint(key.PublicKey))
		if err != nil || !strings.HasPrefix(stated.By, i.client.key.AccessKeyID) || told.Key != attest.Fingerprint(key.PublicKey) {
			t.Errorf("%s: %+v, %v", form, stated, err)
		}
		if !strings.HasPrefix(told.FileName, "migration-us-east-1-") || !strings.HasSuffix(told.FileName, "."+form) {
			t.Errorf("the file is called %s", told.FileName)
		}
		if strings.Contains(told.Report, "<script>") {
			t.Errorf("%s: a guest's words are markup", form)
		}
		if _, err := attest.Verify([]byte(strings.Replace(told.Report, "demo", "dema", 1)), told.Key); err == nil {
			t.Errorf("%s: a changed report verifies", form)
		}
	}
	var made report.Report
	must(t, json.NewDecoder(strings.NewReader(ask("json").Report)).Decode(&made))
	if len(made.Instances) != 1 || made.Instances[0].Name != "demo" || made.Provider != "openimds" || made.Installation == nil {
		t.Errorf("the report has %+v", made)
	}
	log := readAudit(t, i)
	signed := 0
	for line := range strings.Lines(log) {
		var e openimds.AuditEntry
		must(t, json.Unmarshal([]byte(line), &e))
		if e.What == "SignReport" {
			signed++
			if !strings.HasPrefix(e.Who, i.client.key.AccessKeyID) || !strings.HasPrefix(e.Source, "127.0.0.1:") {
				t.Errorf("signed for %+v", e)
			}
		}
	}
	if signed != 3 {
		t.Errorf("%d reports were signed: %s", signed, log)
	}
	var names []string
	for n := range 200 {
		names = append(names, fmt.Sprint("web-", n))
	}
	for part := range slices.Chunk(names, 20) {
		_, err := i.server.Service().CreateInstances(t.Context(), control.InstancesLaunch{Names: part, Zone: "us-east-1a", BlueprintID: "debian_12", BundleID: "nano_3_0"})
		must(t, err)
	}
	if status, answer := b.ask("POST", "api/GetMigrationReport", `{"form":"json"}`); status != http.StatusBadRequest || !strings.Contains(answer, "A report of 201 instances takes longer than a page waits") {
		t.Errorf("of too many: %d %s", status, answer)
	}
}
