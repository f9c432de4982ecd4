package clients

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
)

// terminationHandler asks as aws-node-termination-handler does (pkg/ec2metadata and pkg/monitor there):
// it takes a token for an hour, believes the TTL header of every answer, parses JSON by these members
// and times by these forms, and takes a 404 for "nothing", but not of scheduled maintenance.
type terminationHandler struct {
	s     *server
	token string
	ttl   int
	puts  int
}

const handlerTTL = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"

func (h *terminationHandler) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	for range 2 {
		if h.token == "" || h.ttl <= 15 {
			h.puts++
			status, h.token = h.s.request(t, http.MethodPut, "/latest/api/token", http.Header{handlerTTL: {"3600"}})
			if status != http.StatusOK {
				t.Fatalf("no token: %d", status)
			}
			h.ttl = 3600
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.s.IMDS+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-aws-ec2-metadata-token", h.token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := text(t, resp.Body)
		if resp.StatusCode == http.StatusUnauthorized {
			h.token = ""
			continue
		}
		if h.ttl, err = strconv.Atoi(resp.Header.Get(handlerTTL)); err != nil {
			t.Fatalf("%s: the answer tells no TTL: %v", path, err)
		}
		return resp.StatusCode, body
	}
	t.Fatalf("%s: refused with a fresh token", path)
	return 0, ""
}

// optional reads a document that may be absent.
func (h *terminationHandler) optional(t *testing.T, path string, into any) bool {
	t.Helper()
	status, body := h.get(t, path)
	if status == http.StatusNotFound {
		return false
	}
	if err := json.Unmarshal([]byte(body), into); status != http.StatusOK || err != nil {
		t.Fatalf("%s: %d %q, %v", path, status, body, err)
	}
	return true
}

// seen is what one round of its monitors finds; empty: nothing.
type seen struct {
	Action, Interruption, Notice, Lifecycle string
	Scheduled                               []scheduledEvent
}

type scheduledEvent struct{ NotBefore, Code, Description, EventID, NotAfter, State string }

func (h *terminationHandler) round(t *testing.T) (found seen) {
	t.Helper()
	var spot struct{ Action, Time string }
	if h.optional(t, "/latest/meta-data/spot/instance-action", &spot) {
		found.Action, found.Interruption = spot.Action, stampOf(t, time.RFC3339, spot.Time)
	}
	status, body := h.get(t, "/latest/meta-data/events/maintenance/scheduled")
	if err := json.Unmarshal([]byte(body), &found.Scheduled); status != http.StatusOK || err != nil {
		t.Fatalf("scheduled maintenance: %d %q, %v", status, body, err)
	}
	for _, e := range found.Scheduled {
		stampOf(t, "2 Jan 2006 15:04:05 GMT", e.NotBefore)
		stampOf(t, "2 Jan 2006 15:04:05 GMT", e.NotAfter)
	}
	var rebalance struct {
		NoticeTime string `json:"noticeTime"`
	}
	if h.optional(t, "/latest/meta-data/events/recommendations/rebalance", &rebalance) {
		found.Notice = stampOf(t, time.RFC3339, rebalance.NoticeTime)
	}
	status, body = h.get(t, "/latest/meta-data/autoscaling/target-lifecycle-state")
	if status == http.StatusOK {
		found.Lifecycle = body
	} else if status != http.StatusNotFound {
		t.Fatalf("lifecycle: %d", status)
	}
	return found
}

// stampOf fails the test unless the text is a time of that form, some minutes from now at most.
func stampOf(t *testing.T, form, text string) string {
	t.Helper()
	at, err := time.Parse(form, text)
	if d := time.Until(at); err != nil || d < -2*patience || d > 3*time.Hour {
		t.Fatalf("the time %q is %v from now, %v", text, d, err)
	}
	return text
}

// TestTerminationHandler goes through what aws-node-termination-handler asks for: at its start, and
// then again and again while things are announced and taken back, with tokens required.
func TestTerminationHandler(t *testing.T) {
	s := serve(t, func(in *openimds.Instance) { required(in); in.LifeCycle = "spot" })
	h := &terminationHandler{s: s}
	in := s.Instance
	command := func(args ...string) {
		t.Helper()
		s.command(t, args...)
	}

	// At the start: who am I?
	var who struct{ AccountID, InstanceID, InstanceType, PrivateIP, AvailabilityZone, Region string }
	if !h.optional(t, "/latest/dynamic/instance-identity/document", &who) ||
		who.AccountID != in.OwnerID || who.InstanceID != in.ID || who.InstanceType != in.InstanceType ||
		who.PrivateIP != in.NICs[0].PrivateIPv4[0].String() || who.AvailabilityZone != in.Zone || who.Region != in.Region {
		t.Errorf("the identity document says %+v", who)
	}
	public, _ := in.PublicIPv4()
	for path, want := range map[string]string{
		"instance-life-cycle": "spot", "local-hostname": in.NICs[0].LocalHostname, "public-hostname": in.NICs[0].PublicHostname,
		"public-ipv4": public.String(), "instance-id": in.ID, "instance-type": in.InstanceType,
		"local-ipv4": who.PrivateIP, "placement/availability-zone": in.Zone,
	} {
		if status, got := h.get(t, "/latest/meta-data/"+path); status != http.StatusOK || got != want {
			t.Errorf("%s: %d %q, want %q", path, status, got, want)
		}
	}

	// until repeats the round, as it does every two seconds, until it finds what was announced.
	until := func(what string, found func(seen) bool) {
		t.Helper()
		began := time.Now()
		for {
			got := h.round(t)
			if found(got) {
				t.Logf("%s after %v", what, time.Since(began).Round(100*time.Microsecond))
				return
			}
			if time.Since(began) > patience {
				t.Fatalf("%s: in vain, it finds %+v", what, got)
			}
			time.Sleep(time.Millisecond)
		}
	}
	nothing := func(got seen) bool {
		return got.Action+got.Interruption+got.Notice+got.Lifecycle == "" && len(got.Scheduled) == 0
	}
	if got := h.round(t); !nothing(got) {
		t.Fatalf("before anything is announced it finds %+v", got)
	}
	command("event", "rebalance", "demo")
	until("the recommendation is seen", func(got seen) bool { return got.Notice != "" && got.Action == "" })
	command("event", "spot", "demo", "--action", "terminate", "--in", "2m")
	until("the interruption is seen", func(got seen) bool { return got.Action == "terminate" && got.Interruption != "" })
	command("event", "lifecycle", "Terminated", "demo")
	until("the lifecycle state is seen", func(got seen) bool { return got.Lifecycle == "Terminated" })
	command("event", "maintenance", "demo", "--code", "system-reboot", "--in", "1h", "--duration", "30m", "--description", "a new host")
	var scheduled scheduledEvent
	until("the maintenance is seen", func(got seen) bool {
		if len(got.Scheduled) == 1 {
			scheduled = got.Scheduled[0]
		}
		return scheduled.Code == "system-reboot" && scheduled.State == "active" && scheduled.Description == "a new host"
	})
	if !regexp.MustCompile(`^instance-event-[0-9a-f]{17}$`).MatchString(scheduled.EventID) {
		t.Errorf("the event has the id %q", scheduled.EventID)
	}
	command("event", "maintenance", "demo", "--id", scheduled.EventID, "--state", "completed")
	until("the maintenance is over", func(got seen) bool { return len(got.Scheduled) == 0 })
	if _, history := h.get(t, "/latest/meta-data/events/maintenance/history"); !strings.Contains(history, scheduled.EventID) {
		t.Errorf("the history is %q", history)
	}
	command("event", "clear", "demo", "--kind", "rebalance")
	until("the recommendation is gone, and nothing else", func(got seen) bool { return got.Notice == "" && got.Action != "" && got.Lifecycle != "" })
	command("event", "clear", "demo")
	until("all is gone", nothing)

	// A restart of the instance voids its token: it takes another one and goes on.
	command("event", "spot", "demo")
	command("instance", "stop", "demo")
	command("instance", "start", "demo")
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // the guest side of a stopped instance answers nobody
		resp, err := http.Get("http://" + s.IMDS + "/latest/meta-data/")
		if err == nil {
			_ = resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	until("the new life has no announcement", nothing)
	if h.puts != 2 {
		t.Errorf("%d tokens, want one for each life", h.puts)
	}
}
