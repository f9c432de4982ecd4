package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/openimds/openimds"
	"github.com/rogpeppe/go-internal/testscript"
)

// migration takes the indented lines of a chapter of docs/MIGRATION.md as they stand. Weeks are seconds in a
// story, and a plan that came to its end leaves nothing to go on with.
func migration(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 2)
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "MIGRATION.md"))
	ts.Check(err)
	_, chapter, ok := strings.Cut(string(page), "\n## "+args[1]+"\n")
	if !ok {
		ts.Fatalf("docs/MIGRATION.md has no chapter %s", args[1])
	}
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	short := strings.NewReplacer("--window 35d", "--window 1s", "--hold 1h", "--hold 1s", "--for 24h", "--for 1s")
	script, commands := "set -eux\n", 0
	for line := range strings.Lines(chapter) {
		command, ok := strings.CutPrefix(line, "    ")
		if !ok {
			continue
		}
		if !strings.HasPrefix(command, "openimds ") {
			ts.Fatalf("%q is no command of openimds", command)
		}
		commands++
		command = short.Replace(strings.TrimSpace(command))
		switch {
		case strings.Contains(command, "ec2.yaml") && strings.HasSuffix(command, "--yes"):
			continue // CloudWatch tells of refusals minutes late: the tests of package migrate have a clock of their own
		case strings.Contains(command, "migrate resume"):
			command += " 2>resume.err || grep 'nothing that could be gone on with' resume.err"
		case strings.HasPrefix(command, "openimds trace") && (runtime.GOOS != "linux" || os.Geteuid() != 0):
			command += " 2>trace.err || grep openimds: trace.err" // which says what it takes
		}
		script += command + "\n"
	}
	if commands < 5 {
		ts.Fatalf("the chapter %s has %d commands", args[1], commands)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(script), 0o600))
}

var createdAt = regexp.MustCompile(`"createdAt":[0-9.]+`)

// amazonStandIn answers as AWS's API does, with what the server behind it has: no operation of openimds's own, one
// region, weeks of metrics, and every seventh request is throttled. Its instance "unseen" may not be looked at.
func amazonStandIn(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, 0)
	behind, err := url.Parse("http://" + ts.Getenv("API"))
	ts.Check(err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(behind)
			r.Out.Host = r.In.Host // which is signed
		},
		ModifyResponse: func(r *http.Response) error { // its instances have been there for long
			body, err := io.ReadAll(r.Body)
			body = createdAt.ReplaceAll(body, fmt.Appendf(nil, `"createdAt":%d`, time.Now().AddDate(0, -3, 0).Unix()))
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Length", strconv.Itoa(len(body)))
			return err
		},
	}
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := func(status int, body string) {
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
		target := r.Header.Get("X-Amz-Target")
		body, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		switch {
		case err != nil:
			answer(http.StatusBadRequest, `{"__type":"SerializationException"}`)
		case strings.HasSuffix(target, ".GetInstance") && bytes.Contains(body, []byte(`"unseen"`)):
			answer(http.StatusBadRequest, `{"__type":"AccessDeniedException","message":"not authorized to perform lightsail:GetInstance"}`)
		case strings.HasPrefix(target, "OpenIMDS_"):
			answer(http.StatusBadRequest, `{"__type":"UnknownOperationException"}`)
		case asked.Add(1)%7 == 0:
			answer(http.StatusBadRequest, `{"__type":"ThrottlingException","message":"Rate exceeded"}`)
		case strings.HasSuffix(target, ".GetInstanceMetricData"):
			answer(metricsOfWeeks(r.Body))
		case strings.HasSuffix(target, ".GetRegions"):
			answer(http.StatusOK, `{"regions":[{"name":"us-east-1"}]}`)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	ts.Defer(server.Close)
	ts.Setenv("AMAZON", server.URL)
}

// metricsOfWeeks are those that Lightsail has of instances that always run: nobody has called web-1 without a
// token, and web-2 is called in each sample, and of "empty" there are none. It knows no metric of refusals.
func metricsOfWeeks(body io.Reader) (status int, answer string) {
	var q struct {
		InstanceName, MetricName string
		StartTime, EndTime       float64
		Period                   int64
	}
	if json.NewDecoder(body).Decode(&q) != nil || q.MetricName != openimds.MetricNoToken || q.Period <= 0 {
		return http.StatusBadRequest, `{"__type":"InvalidInputException","message":"no such metric"}`
	}
	calls := 0
	if q.InstanceName == "web-2" {
		calls = 1
	}
	if q.InstanceName == "empty" {
		q.EndTime = 0
	}
	var points []string
	for at := int64(q.StartTime); at < int64(q.EndTime) && at <= time.Now().Unix()-q.Period; at += q.Period {
		points = append(points, fmt.Sprintf(`{"sum":%d,"sampleCount":%d,"timestamp":%d,"unit":"Count"}`, calls, q.Period/300, at))
	}
	return http.StatusOK, fmt.Sprintf(`{"metricName":%q,"metricData":[%s]}`, q.MetricName, strings.Join(points, ","))
}
