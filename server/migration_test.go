package server

import (
	"bytes"
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
	ask := func(form string) madeReport { return b.report(t, form) }
	var key wire.GetReportKeyResult
	must(t, i.client.call(t.Context(), targetOpenIMDS+"GetReportKey", wire.Nothing{}, &key))
	for _, form := range []string{"html", "json"} {
		told := ask(form)
		stated, err := attest.Verify(told.text, attest.Fingerprint(key.PublicKey))
		if err != nil || !strings.HasPrefix(stated.By, i.client.key.AccessKeyID) || told.Key != attest.Fingerprint(key.PublicKey) {
			t.Errorf("%s: %+v, %v", form, stated, err)
		}
		if !strings.HasPrefix(told.FileName, "migration-us-east-1-") || !strings.HasSuffix(told.FileName, "."+form) {
			t.Errorf("the file is called %s", told.FileName)
		}
		if strings.Contains(string(told.text), "<script>") {
			t.Errorf("%s: a guest's words are markup", form)
		}
		if _, err := attest.Verify(bytes.Replace(told.text, []byte("demo"), []byte("dema"), 1), told.Key); err == nil {
			t.Errorf("%s: a changed report verifies", form)
		}
	}
	var made report.Report
	must(t, json.NewDecoder(bytes.NewReader(ask("json").text)).Decode(&made))
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
	// Who may only look gets neither a report nor another one's, and who gives a wrong id none.
	var begun wire.MakeMigrationReportResult
	must(t, i.client.call(t.Context(), targetOpenIMDS+"MakeMigrationReport", wire.MakeMigrationReportRequest{Form: wire.ReportHTML}, &begun))
	reader := i.readOnlyKey(t)
	onlooker := newBrowser(t, i.server.APIURL())
	onlooker.signIn(reader.ID, reader.Secret)
	mine := `{"reportId":"` + begun.ReportID + `"}`
	for operation, body := range map[string]string{"MakeMigrationReport": `{"form":"html"}`, "GetMigrationReport": mine} {
		if status, answer := onlooker.ask("POST", "api/"+operation, body); status != http.StatusBadRequest || !strings.Contains(answer, "AccessDeniedException") {
			t.Errorf("%s by a key that may only look: %d %s", operation, status, answer)
		}
	}
	for body, words := range map[string]string{
		`{"reportId":"00000000-0000-0000-0000-000000000000"}`: "There is no such report any more",
		`{"reportId":"` + begun.ReportID + `","from":-1}`:     "no bytes before its first one",
	} {
		if status, answer := b.ask("POST", "api/GetMigrationReport", body); status != http.StatusBadRequest || !strings.Contains(answer, words) {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	// Another one of the same key takes its place, in whichever way it was asked for.
	ask("json")
	if status, answer := b.ask("POST", "api/GetMigrationReport", mine); status != http.StatusBadRequest || !strings.Contains(answer, "There is no such report any more") {
		t.Errorf("a report whose place another one has: %d %s", status, answer)
	}
}

// Where it is longer than an answer, the report comes in parts, and is whole.
func TestLargeMigrationReport(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(filepath.Join(t.TempDir(), "data")))
	var names []string
	for n := range 130 {
		names = append(names, fmt.Sprint("web-", n))
	}
	for part := range slices.Chunk(names, 20) {
		_, err := i.server.Service().CreateInstances(t.Context(), control.InstancesLaunch{Names: part, Zone: "us-east-1a", BlueprintID: "debian_12", BundleID: "nano_3_0"})
		must(t, err)
	}
	b := newBrowser(t, i.server.APIURL())
	b.signIn(i.client.key.AccessKeyID, i.client.key.SecretAccessKey)
	for _, form := range []string{"html", "json"} {
		told := b.report(t, form)
		if _, err := attest.Verify(told.text, told.Key); err != nil || told.parts < 2 {
			t.Errorf("%s in %d parts: %v", form, told.parts, err)
		}
		if form == "html" {
			if n := bytes.Count(told.text, []byte(`<section class="instance"`)); n != 131 {
				t.Errorf("the page has %d instances", n)
			}
			continue
		}
		var made report.Report
		must(t, json.NewDecoder(bytes.NewReader(told.text)).Decode(&made))
		total := 0
		for _, n := range made.Totals {
			total += n
		}
		if len(made.Instances) != 131 || total != 131 {
			t.Errorf("the report has %d instances, %v", len(made.Instances), made.Totals)
		}
	}
}

// madeReport is a report that a page has put together.
type madeReport struct {
	wire.GetMigrationReportResult
	text  []byte
	parts int
}

// report has a report made, as the page does.
func (b *browser) report(t *testing.T, form string) (made madeReport) {
	t.Helper()
	ask := func(operation, body string, to any) {
		status, answer := b.ask("POST", "api/"+operation, body)
		if status != http.StatusOK {
			t.Fatalf("%s %s: %d %s", operation, body, status, answer)
		}
		must(t, json.Unmarshal([]byte(answer), to))
	}
	var begun wire.MakeMigrationReportResult
	ask("MakeMigrationReport", `{"form":"`+form+`"}`, &begun)
	must(t, eventually(func() bool {
		if made.parts == 0 { // to ask all the time would hold up who makes it
			time.Sleep(20 * time.Millisecond)
		}
		made.GetMigrationReportResult = wire.GetMigrationReportResult{}
		ask("GetMigrationReport", fmt.Sprintf(`{"reportId":%q,"from":%d}`, begun.ReportID, len(made.text)), &made.GetMigrationReportResult)
		if made.Size > 0 {
			made.parts++
		}
		made.text = append(made.text, made.Part...)
		return made.Size > 0 && int64(len(made.text)) >= made.Size
	}))
	if int64(len(made.text)) != made.Size || made.Judged != made.Instances {
		t.Fatalf("%d bytes of %d, %d instances of %d", len(made.text), made.Size, made.Judged, made.Instances)
	}
	return made
}
