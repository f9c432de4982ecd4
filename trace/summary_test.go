package trace

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds/processes"
)

func process(exe, unit string) processes.Process {
	return processes.Process{PID: 7, Exe: exe, Comm: "c", Unit: unit}
}

func TestSummary(t *testing.T) {
	s := NewSummary(2)
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }
	curl, agent := process("/usr/bin/curl", "cron.service"), process("/opt/agent", "agent.service")
	for i, c := range []Call{
		{Version: V1, Status: 200, Process: curl, Group: "meta-data"},
		{Version: V1, Status: 401, Process: curl, Group: "meta-data/iam", Forwarded: true},
		{Version: Token, Status: 200, Process: agent, Group: "api/token", UserAgent: "agent/1"},
		{Version: Token, Process: agent, Group: "api/token"},
		{Version: V2, Status: 200, Process: agent},
		{Version: Unknown, Process: agent},
		{Version: V1, Status: 200, Process: process("/third", "")},
		{Version: None, Service: ContainerCredentials, Process: process("/fourth", "")},
	} {
		c.Time = at(i)
		if c.Service == "" {
			c.Service = Metadata
		}
		s.Add(c)
	}
	s.Miss(Gap{Requests: 2})
	s.Miss(Gap{Requests: 1, Sampled: 4, SampledOneOf: 8})
	r := s.Report(at(9))
	if len(r.Callers) != 2 || r.Callers[0].Who() != "curl" || r.Callers[1].Who() != "agent" {
		t.Fatalf("%+v", r)
	}
	got := fmt.Sprintf("%+v", r.Callers)
	for _, want := range []string{"V1:2 V1Refused:1 V2:0 Tokens:0", "Forwarded:1", "Groups:[meta-data meta-data/iam]", "V1:0 V1Refused:0 V2:1 Tokens:2 Other:0 Unknown:1", "NoToken:1", "UserAgent:agent/1"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
	if !r.Callers[0].LastV1.Equal(at(1)) || !r.Callers[1].First.Equal(at(2)) || !r.Callers[1].Last.Equal(at(5)) {
		t.Errorf("%+v", r.Callers)
	}
	if r.Beyond == nil || r.Beyond.V1 != 1 || r.Beyond.Other != 1 || r.Missed == nil || r.Missed.Requests != 3 || r.Missed.SampledOneOf != 8 {
		t.Errorf("beyond %+v, missed %+v", r.Beyond, r.Missed)
	}
	// The command line beside calls by IMDSv1 is of one that made such a call.
	s = NewSummary(2)
	line := func(word string) processes.Process {
		return processes.Process{PID: 7, Exe: "/usr/bin/curl", Argv: []string{"curl", word}}
	}
	for i, c := range []Call{
		{Version: V2, Process: line("v2-first")}, {Version: V1, Process: line("v1-early")}, {Version: V1, Process: line("v1-late")},
		{Version: Token, Process: line("token")}, {Version: V2, Process: line("v2-last")},
	} {
		c.Time, c.Service = at(i), Metadata
		s.Add(c)
		if want := []string{"v2-first", "v1-early", "v1-late", "v1-late", "v1-late"}[i]; s.Report(at(9)).Callers[0].Example.Argv[1] != want {
			t.Errorf("after call %d: %+v, want the line of %s", i, s.Report(at(9)).Callers[0].Example, want)
		}
	}
	// Nothing seen is not the same as nothing missed.
	text, err := json.Marshal(NewSummary(1).Report(noon))
	if err != nil || !strings.Contains(string(text), `"missed":null`) || !strings.Contains(string(text), `"callers":[]`) {
		t.Errorf("%s, %v", text, err)
	}
}

func TestGovernor(t *testing.T) {
	g := newGovernor(0.10)
	now, spent := noon, time.Duration(0)
	second := func(share float64) string {
		now, spent = now.Add(time.Second), spent+time.Duration(share*float64(time.Second))
		return g.measure(now, spent)
	}
	second(0.9) // the first tells nothing: it is all since the start
	for i, step := range []struct {
		share float64
		n     uint
		said  string
	}{
		{0.05, 0, ""}, {0.90, 0, ""}, {0.25, 0, ""}, // what is done once is done with what was spared
		{0.20, 1, "one of 2"}, {0.15, 2, "one of 4"}, {0.09, 2, ""}, {0.05, 2, ""},
		{0.02, 2, ""}, {0.02, 2, ""}, {0.02, 2, ""}, {0.02, 2, ""}, {0.02, 1, "one of 2"},
		{0.01, 1, ""}, {0.01, 1, ""}, {0.04, 1, ""}, {0.01, 1, ""}, {0.01, 1, ""}, {0.01, 1, ""}, {0.01, 1, ""}, {0.01, 0, "every connection"},
	} {
		said := second(step.share)
		if g.n != step.n || (said == "") != (step.said == "") || !strings.Contains(said, step.said) {
			t.Errorf("step %d: one of 2^%d, %q; want 2^%d, %q", i, g.n, said, step.n, step.said)
		}
	}
	for range 20 {
		second(5)
	}
	if g.n != mostSampling {
		t.Errorf("one of 2^%d", g.n)
	}
	free := newGovernor(0)
	for range 3 {
		now = now.Add(time.Second)
		if said := free.measure(now, now.Sub(noon)*4); said != "" || free.n != 0 {
			t.Errorf("without a limit: %q", said)
		}
	}
}

// However many callers there are, what is kept of them has an end.
func TestSummaryIsBounded(t *testing.T) {
	const most, more = 10_000, 2_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	s := NewSummary(most)
	for round := range 3 {
		for i := range most + more {
			p := process(fmt.Sprintf("/opt/application-%d/bin/server", i), "application.service")
			for word := range 10 {
				p.Argv = append(p.Argv, fmt.Sprintf("--option-%d=%d-%s", word, round, strings.Repeat("x", 30)))
			}
			p.Parents = []processes.Parent{{PID: 1, Comm: "systemd"}}
			s.Add(Call{Time: noon, Service: Metadata, Version: V1, Group: "meta-data", Process: p})
		}
	}
	kept := heap() - before
	r := s.Report(noon)
	if len(r.Callers) != most || r.Beyond == nil || r.Beyond.V1 != 3*more {
		t.Errorf("%d callers, beyond %+v", len(r.Callers), r.Beyond)
	}
	t.Logf("%d callers take %d KiB", most, kept>>10)
	if kept > 64<<20 {
		t.Errorf("%d callers take %d KiB", most, kept>>10)
	}
	runtime.KeepAlive(s)
}
