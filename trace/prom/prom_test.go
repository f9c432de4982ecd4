package prom

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/processes"
	"github.com/openimds/openimds/trace"
)

func scrape(t *testing.T, s *trace.Summary) string {
	t.Helper()
	w := httptest.NewRecorder()
	Handler(s).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestHandler(t *testing.T) {
	s := trace.NewSummary(10_000)
	for i := range 3 {
		s.Add(trace.Call{Time: time.Now(), Service: trace.Metadata, Version: trace.V1, Process: processes.Process{
			PID: i, Exe: "/usr/bin/curl", User: "root", Unit: "cron.service", Container: &processes.Container{ID: "0123", Name: "web", Pod: "shop/web-0"},
		}})
	}
	s.Miss(trace.Gap{Sampled: 5})
	text := scrape(t, s)
	for _, want := range []string{
		`openimds_trace_calls_total{container="web",pod="shop/web-0",process="curl",service="imds",unit="cron.service",user="root",version="v1"} 3`,
		`openimds_trace_missed_total{what="sampled"} 5`, `openimds_trace_missed_total{what="connections"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	// However many callers there are, the series have an end, and no call is left out.
	for i := range 3000 {
		s.Add(trace.Call{Time: time.Now(), Service: trace.Metadata, Version: trace.V2, Process: processes.Process{PID: i, Exe: fmt.Sprintf("/tmp/%d", i)}})
	}
	text = scrape(t, s)
	if n := strings.Count(text, "openimds_trace_calls_total{"); n != mostCallers+1 {
		t.Errorf("%d series", n)
	}
	if !strings.Contains(text, `process="(others)",service="imds",unit="",user="",version="v2"} 2501`) {
		t.Errorf("%s", text)
	}
}
