package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
)

const packaged = "../packaging"

// tool is a program of Prometheus's.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (apt-get install prometheus)", name)
	}
	return path
}

// The rules are right by Prometheus's own judgement, and by the cases beside them.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool := tool(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "openimds.rules.yml", "openimds-usage.rules.yml"},
		{"test", "rules", "openimds.test.yml", "openimds.week.test.yml", "openimds-usage.test.yml"},
	} {
		run := exec.CommandContext(t.Context(), promtool, args...)
		run.Dir = filepath.Join(packaged, "prometheus")
		if out, err := run.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// dashboardQueries are those of all panels of the dashboard, as Grafana asks them for all jobs.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(filepath.Join(packaged, "grafana", "openimds.json"))
	must(t, err)
	must(t, json.Unmarshal(text, &dashboard))
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			queries = append(queries, strings.ReplaceAll(target.Expr, "$job", ".*"))
		}
	}
	if len(queries) < 20 {
		t.Fatalf("the dashboard has %d queries", len(queries))
	}
	return queries
}

var metricName = regexp.MustCompile(`\b(openimds|process)_[a-z0-9_]+`)

// notHere are metrics that the test's server need not have: no token is lost, no role has a source of its own, no engine
// is told what is counted, and not every machine can attach.
var notHere = map[string]bool{"openimds_metadata_token_undelivered_total": true, "openimds_role_credentials_sets": true, "openimds_attachments": true,
	"openimds_metrics_write_timestamp_seconds": true, "openimds_metrics_write_refused_total": true}

// Each query of a panel has data of a real server in a real Prometheus, and the rules name no metric that there is not.
func TestDashboard(t *testing.T) {
	t.Parallel()
	prometheus := tool(t, "prometheus")
	cfg := forTest(filepath.Join(t.TempDir(), "data"))
	cfg.AnonymousMetrics = true
	i := openInstallation(t, cfg)
	name := i.server.Instance().Name
	_, err := i.server.Service().SetInstance(t.Context(), name, control.InstanceUpdate{RoleName: new("app")})
	must(t, err)
	ask := func() {
		i.asks(t, "latest/meta-data/ami-id", "", "old/1")
		i.asks(t, "latest/meta-data/ami-id", i.token(t), "new/2")
	}
	ask()
	_, err = i.server.Service().StartRehearsal(t.Context(), name, openimds.RehearseShadow, 0, time.Hour)
	must(t, err)
	must(t, i.server.guests.Settle(t.Context(), name))
	ask()
	i.settle(t, openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)})
	ask()
	_, err = i.server.Service().UpdateFaults(t.Context(), name, control.FaultsUpdate{LatencyMillis: new(1)})
	must(t, err)
	must(t, i.server.guests.Settle(t.Context(), name))
	at := startPrometheus(t, prometheus, i.server.APIURL())
	there := i.metricNames(t)
	for _, query := range dashboardQueries(t) {
		if name := metricName.FindString(query); notHere[name] && !there[name] {
			continue
		}
		for start := time.Now(); !answers(t, at, query); time.Sleep(200 * time.Millisecond) {
			if time.Since(start) > patience {
				t.Fatalf("the query %s has no data", query)
			}
			ask()
		}
	}
	rules, err := os.ReadFile(filepath.Join(packaged, "prometheus", "openimds.rules.yml"))
	must(t, err)
	for _, metric := range metricName.FindAllString(string(rules), -1) {
		if base := strings.TrimSuffix(metric, "_bucket"); !there[base] && !notHere[base] {
			t.Errorf("a rule names %s, which the server does not have", metric)
		}
	}
}

// metricNames are those of the server's metrics.
func (i *installation) metricNames(t *testing.T) map[string]bool {
	t.Helper()
	resp, err := http.Get(i.server.APIURL() + "/metrics")
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	names := map[string]bool{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if name, found := strings.CutPrefix(lines.Text(), "# TYPE "); found {
			name, _, _ = strings.Cut(name, " ")
			names[name] = true
		}
	}
	return names
}

// startPrometheus has one scrape the server until the test ends, and tells where it answers.
func startPrometheus(t *testing.T, program, api string) (at string) {
	t.Helper()
	target, err := url.Parse(api)
	must(t, err)
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	rules, err := filepath.Abs(filepath.Join(packaged, "prometheus", "openimds.rules.yml"))
	must(t, err)
	must(t, os.WriteFile(config, fmt.Appendf(nil, `global: {scrape_interval: 5s, scrape_timeout: 5s}
rule_files: [%q]
scrape_configs:
  - job_name: openimds
    static_configs: [{targets: [%q]}]
`, rules, target.Host), 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	run := exec.CommandContext(ctx, program, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	log, err := run.StderrPipe()
	must(t, err)
	must(t, run.Start())
	t.Cleanup(func() {
		cancel()
		_ = run.Wait()
	})
	said := bufio.NewScanner(log)
	listening := regexp.MustCompile(`msg="Listening on" address=(127\.0\.0\.1:\d+)`)
	var all []string
	for said.Scan() {
		all = append(all, said.Text())
		if found := listening.FindStringSubmatch(said.Text()); found != nil {
			go func() { _, _ = io.Copy(io.Discard, log) }() // so that it never waits for its log to be read
			return "http://" + found[1]
		}
	}
	t.Fatalf("prometheus does not listen:\n%s", strings.Join(all, "\n"))
	return ""
}

// answers says whether a query has data.
func answers(t *testing.T, at, query string) bool {
	t.Helper()
	resp, err := http.Get(at + "/api/v1/query?query=" + url.QueryEscape(query))
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Value [2]any }
		}
	}
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode == http.StatusServiceUnavailable {
		return false // it is not ready yet
	}
	must(t, json.Unmarshal(text, &answer))
	if answer.Status != "success" {
		t.Fatalf("%s: %s", query, answer.Error)
	}
	for _, r := range answer.Data.Result {
		if r.Value[1] != "NaN" {
			return true
		}
	}
	return false
}
