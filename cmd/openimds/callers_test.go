package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
)

func TestHints(t *testing.T) {
	const (
		arrive = "web-1, 10.0.0.7 curl/8: token answer did not arrive: "
		all    = " (3 in all, the last at 1970-01-01 00:16:40)"
	)
	for _, c := range []struct {
		limit, needed, current int
		since                  int64
		want                   string
	}{
		{1, 2, 1, 0, arrive + "hop limit 1 is too small for this caller, which needs at least 2" + all},
		{1, 3, 2, 1000, arrive + "hop limit 1 is too small for this caller, which needs at least 3" + all},
		{1, 0, 1, 0, arrive + "hop limit 1 may be too small for this caller" + all},
		{2, 2, 2, 0, "web-1, 10.0.0.7 curl/8: token answer was not acknowledged, but hop limit 2 is enough for this caller" + all},
		{1, 2, 2, 0, ""},    // raised
		{1, 0, 2, 0, ""},    // raised, perhaps enough
		{1, 2, 1, 1001, ""}, // not of interest
	} {
		var caller wire.MetadataCaller
		text := fmt.Sprintf(`{"instanceName":"web-1","source":"10.0.0.7","userAgent":"curl/8","counts":{%q:3},
			"tokenUndelivered":{"time":1000.0,"hopLimit":%d,"neededHopLimit":%d,"currentHopLimit":%d}}`,
			openimds.MetricTokenUndelivered, c.limit, c.needed, c.current)
		if err := json.Unmarshal([]byte(text), &caller); err != nil {
			t.Fatal(err)
		}
		if got := hint(caller, time.Unix(c.since, 0)); got != c.want {
			t.Errorf("%+v:\n got %q\nwant %q", c, got, c.want)
		}
	}
	if got := hint(wire.MetadataCaller{}, time.Time{}); got != "" {
		t.Errorf("nothing lost: %q", got)
	}
}

// TestWholeLists: a list that takes many answers is shown whole, or not at all.
func TestWholeLists(t *testing.T) {
	cut := false
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct{ PageToken string }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		name, next := "web-1", "second"
		switch {
		case request.PageToken == "second" && cut:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `{"__type":"InvalidInputException","message":"no"}`)
			return
		case request.PageToken == "second":
			name, next = "web-2", ""
		}
		_, _ = fmt.Fprintf(w, `{"callers":[{"instanceName":%q,"counts":{}}],"instances":[{"name":%q}],"nextPageToken":%q}`, name, name, next)
	}))
	defer api.Close()
	t.Setenv("AWS_ENDPOINT_URL_LIGHTSAIL", api.URL)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "AKIDEXAMPLE")
	}
	for _, command := range []string{"callers", "instance list"} {
		for _, cut = range []bool{false, true} {
			var out, errs bytes.Buffer
			code := run(t.Context(), strings.Fields(command), &out, &errs)
			if cut && (code != exitFailed || out.Len() > 0) {
				t.Errorf("%s of a list that breaks off: code %d, %s%s", command, code, &out, &errs)
			}
			if !cut && (code != exitDone || !strings.Contains(out.String(), "web-1") || !strings.Contains(out.String(), "web-2")) {
				t.Errorf("%s: code %d, %s%s", command, code, &out, &errs)
			}
		}
	}
}

// callersAPI answers as a server whose callers are those.
func callersAPI(t *testing.T, answer string) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, answer) }))
	t.Cleanup(api.Close)
	t.Setenv("AWS_ENDPOINT_URL_LIGHTSAIL", api.URL)
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, "AKIDEXAMPLE")
	}
}

// Who has no call without a token in the time that was asked for is not shown as one of version 1.
func TestCallersOfV1(t *testing.T) {
	now := time.Now().Unix()
	callersAPI(t, fmt.Sprintf(`{"callers":[
		{"instanceName":"web-1","source":"10.0.0.1","userAgent":"upgraded","counts":{"MetadataWithToken":9},"lastWithoutToken":1,"lastSeen":%[1]d},
		{"instanceName":"web-1","source":"10.0.0.2","userAgent":"old","pathGroup":"user-data","counts":{"MetadataNoToken":2,"MetadataNoTokenRejected":3,"MetadataNoTokenFailed":4,"MetadataTokenRequests":5,"MetadataWithToken":6,"MetadataWithTokenFailed":7},"firstWithoutToken":1000,"lastWithoutToken":2000,"lastSeen":3000},
		{"instanceName":"web-1","source":"10.0.0.3","userAgent":"under-a-fault","counts":{"MetadataNoTokenFailed":1},"lastSeen":%[1]d},
		{"instanceName":"web-1","source":"10.0.0.4","userAgent":"far-away","counts":{"MetadataTokenRequests":1},"lastSeen":%[1]d,"tokenUndelivered":{"time":%[1]d,"hopLimit":1,"currentHopLimit":1}},
		{"instanceName":"web-1","source":"10.0.0.5","userAgent":"was-far-away","counts":{"MetadataTokenRequests":1},"lastSeen":%[1]d,"tokenUndelivered":{"time":1000,"hopLimit":1,"currentHopLimit":2}}]}`, now))
	var out, errs bytes.Buffer
	if code := run(t.Context(), strings.Fields("callers --v1 --since 7d --wide"), &out, &errs); code != exitDone {
		t.Fatalf("code %d: %s", code, &errs)
	}
	text := strings.Join(strings.FieldsFunc(out.String(), func(r rune) bool { return r == ' ' }), " ")
	for _, want := range []string{
		"INSTANCE SOURCE V1 ANSWERED V1 REFUSED V1 FAILED FIRST V1 LAST V1 TOKENS V2 ANSWERED V2 FAILED LAST SEEN PERIOD PATHS USER AGENT\n",
		"web-1 10.0.0.2 2 3 4 1970-01-01 00:16:40 1970-01-01 00:33:20 5 6 7 1970-01-01 00:50:00 - user-data old\n",
		"under-a-fault\n", "far-away\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "upgraded") || strings.Contains(text, "was-far-away") {
		t.Errorf("those who have done with version 1 are in\n%s", text)
	}
}

// What is watched as JSON is a value a line.
func TestWatchAsJSON(t *testing.T) {
	callersAPI(t, `{"callers":[{"instanceName":"web-1","counts":{}}]}`)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	read, write := io.Pipe()
	ended := make(chan int)
	go func() { ended <- run(ctx, strings.Fields("callers --watch -o json"), write, io.Discard) }()
	lines := bufio.NewScanner(read)
	for range 2 {
		var callers []wire.MetadataCaller
		if !lines.Scan() {
			t.Fatal("no line")
		}
		if err := json.Unmarshal(lines.Bytes(), &callers); err != nil || len(callers) != 1 {
			t.Errorf("a line is %q, %v", lines.Text(), err)
		}
	}
	stop()
	go func() { _, _ = io.Copy(io.Discard, read) }()
	if code := <-ended; code != exitDone {
		t.Errorf("code %d", code)
	}
}

// Nobody is not shown where it is not known whether anybody called.
func TestCallersThatAreNotKnown(t *testing.T) {
	callersAPI(t, `{"callers":[],"known":[
		{"instanceName":"web-1","missingSeconds":0,"complete":false},
		{"instanceName":"web-2","since":0,"until":3600,"missingSeconds":600,"complete":false},
		{"instanceName":"web-3","since":0,"until":3600,"missingSeconds":0,"complete":false},
		{"instanceName":"web-4","since":60,"until":3600,"missingSeconds":0,"complete":true},
		{"instanceName":"web-5","since":0,"until":3600,"missingSeconds":0,"complete":true}]}`)
	const unknown = "web-1: unknown: no calls were counted in that time\n" +
		"web-2: not all is known: calls were counted from 1970-01-01 00:00:00 until 1970-01-01 01:00:00, without 10m in between, when it was stopped or its host was away\n" +
		"web-3: not all is known: calls were counted from 1970-01-01 00:00:00 until 1970-01-01 01:00:00\n"
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"callers"}, &out, &errs); code != exitDone || !strings.HasSuffix(out.String(), " CALLER\n"+unknown+"calls of 2 instances are counted since 1970-01-01 00:00:00\n") || errs.Len() > 0 {
		t.Errorf("code %d, %s%s", code, &out, &errs)
	}
	out.Reset()
	want := strings.TrimSuffix("openimds: "+strings.ReplaceAll(unknown, "\n", "\nopenimds: "), "openimds: ")
	if code := run(t.Context(), strings.Fields("callers -o json"), &out, &errs); code != exitDone || out.String() != "[]\n" || errs.String() != want {
		t.Errorf("as JSON: code %d, %s%s", code, &out, &errs)
	}
}

// ofThree are callers of two programs of a host, and of a virtual machine.
const ofThree = `{"callers":[
	{"instanceName":"web-1","source":"127.0.0.1","userAgent":"curl/8.5.0","pathGroup":"user-data","counts":{"MetadataNoToken":5},"firstSeen":1000,"lastSeen":3000,"lastWithoutToken":3000,"period":{"kind":"every","seconds":300,"text":"every 5 min"},
	 "agent":{"tool":"curl","version":"8.5.0"},"process":{"executable":"/usr/bin/curl","arguments":["curl","-s","x"],"user":"root","unit":"cron.service","package":"curl 8.5.0"},
	 "advice":[{"code":"Rewrite","text":"ask for a token first"}]},
	{"instanceName":"web-1","source":"127.0.0.1","userAgent":"curl/8.5.0","pathGroup":"meta-data","counts":{"MetadataNoToken":2},"firstSeen":500,"lastSeen":2000,"lastWithoutToken":2000,"period":{"kind":"unknown","text":"unknown"},
	 "agent":{"tool":"curl","version":"8.5.0"},"process":{"executable":"/usr/bin/curl","arguments":["curl","-s","x"],"user":"root","unit":"cron.service","package":"curl 8.5.0"},
	 "advice":[{"code":"Rewrite","text":"ask for a token first"}]},
	{"instanceName":"vm-1","source":"10.0.0.2","userAgent":"Boto3/1.34.0","pathGroup":"meta-data/iam","counts":{"MetadataWithToken":7},"firstSeen":1000,"lastSeen":4000,"period":{"kind":"daily","seconds":86400,"text":"daily"},
	 "agent":{"tool":"AWS SDK for Python (Boto3)","version":"1.34.0"}}]}`

func TestCallersOfAHost(t *testing.T) {
	callersAPI(t, ofThree)
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"callers", "--wide"}, &out, &errs); code != exitDone {
		t.Fatalf("code %d: %s", code, &errs)
	}
	text := strings.Join(strings.FieldsFunc(out.String(), func(r rune) bool { return r == ' ' }), " ")
	for _, want := range []string{
		" LAST SEEN PERIOD PATHS USER AGENT PROCESS USER UNIT OR CONTAINER PACKAGE COMMAND\n",
		" 1970-01-01 00:50:00 every 5 min user-data curl/8.5.0 /usr/bin/curl root cron.service curl 8.5.0 curl -s x\n",
		" daily meta-data/iam Boto3/1.34.0 unknown - - - -\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	out.Reset()
	if code := run(t.Context(), []string{"callers"}, &out, &errs); code != exitDone || !strings.Contains(out.String(), "every 5 min  curl -s x [user-data]\n") || !strings.Contains(out.String(), "daily        Boto3/1.34.0\n") {
		t.Errorf("narrow: code %d, %s%s", code, &out, &errs)
	}
	for _, want := range []string{"curl -s x [user-data]\n", "curl -s x [meta-data]\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("rows that look the same: no %q in\n%s", want, &out)
		}
	}
	if n := strings.Count(text, "web-1, curl -s x: ask for a token first\n"); n != 1 {
		t.Errorf("said %d times what to do\n%s", n, text)
	}
}

// No row is without a number that says why it is there: who only got tokens has called, too.
func TestCallersWithTokensOnly(t *testing.T) {
	callersAPI(t, `{"callers":[{"instanceName":"web-1","source":"10.0.0.1","userAgent":"curl/8","pathGroup":"api","counts":{"MetadataTokenRequests":3},"lastSeen":3000}]}`)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"callers"}, &out, &errs)
	text := strings.Join(strings.FieldsFunc(out.String(), func(r rune) bool { return r == ' ' }), " ")
	if want := "web-1 10.0.0.1 0 0 - 3 1970-01-01 00:50:00 - curl/8\n"; code != exitDone || !strings.Contains(text, want) {
		t.Errorf("code %d, no %q in\n%s%s", code, want, text, &errs)
	}
}

func TestCallersSummedUp(t *testing.T) {
	for by, want := range map[string][]string{
		"process":   {"PROCESS CALLERS INSTANCES", "/usr/bin/curl 2 1 7 0 0 1970-01-01 00:50:00 0 0 0 1970-01-01 00:50:00\n", "\n- 1 1 0 0 0 - 0 7 0 1970-01-01 01:06:40\n"},
		"unit":      {"cron.service 2 1 7"},
		"container": {"\n- 3 2 7 0 0"},
		"agent":     {"\ncurl 8.5.0 2 1 7", "AWS SDK for Python (Boto3) 1.34.0 1 1 0"},
		"instance":  {"\nweb-1 2 1 7", "\nvm-1 1 1 0"},
	} {
		callersAPI(t, ofThree)
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"callers", "--by", by}, &out, &errs); code != exitDone {
			t.Fatalf("code %d: %s", code, &errs)
		}
		text := strings.Join(strings.FieldsFunc(out.String(), func(r rune) bool { return r == ' ' }), " ")
		for _, line := range want {
			if !strings.Contains(text, line) {
				t.Errorf("by %s: no %q in\n%s", by, line, text)
			}
		}
	}
	callersAPI(t, ofThree)
	var out, errs bytes.Buffer
	if code := run(t.Context(), strings.Fields("callers --by agent -o json"), &out, &errs); code != exitDone {
		t.Fatalf("code %d: %s", code, &errs)
	}
	var groups []callerGroup
	if err := json.Unmarshal(out.Bytes(), &groups); err != nil || len(groups) != 2 || groups[0].Name != "curl 8.5.0" || groups[0].Counts[openimds.MetricNoToken] != 7 || !groups[0].FirstSeen.Equal(time.Unix(500, 0)) {
		t.Errorf("%+v, %v", groups, err)
	}
	if code := run(t.Context(), strings.Fields("callers --by colour"), &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "process, unit, container, agent, instance") {
		t.Errorf("code %d: %s", code, &errs)
	}
}
