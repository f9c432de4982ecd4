package server

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/control"
)

// get asks as a guest does; without a token unless there is one.
func (i *installation) asks(t *testing.T, path, token, agent string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+i.imds+"/"+path, nil)
	must(t, err)
	r.Header.Set("User-Agent", agent)
	if token != "" {
		r.Header.Set("X-aws-ec2-metadata-token", token)
	}
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(text)
}

func (i *installation) tree(t *testing.T, q wire.GetMetadataTreeRequest) (answer wire.GetMetadataTreeResult) {
	t.Helper()
	q.InstanceName = i.server.Instance().Name
	must(t, i.client.call(t.Context(), targetOpenIMDS+"GetMetadataTree", q, &answer))
	return answer
}

// settle waits until the guest obeys the options.
func (i *installation) settle(t *testing.T, u openimds.OptionsUpdate) {
	t.Helper()
	_, err := i.server.Service().UpdateOptions(t.Context(), i.server.Instance().Name, u)
	must(t, err)
	must(t, i.server.guests.Settle(t.Context(), i.server.Instance().Name))
}

// What the tree tells is what the guest is answered, at every path, under old and new versions, by both protocols; and
// to look at it is no call.
func TestMetadataTreeIsTheGuests(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(filepath.Join(t.TempDir(), "data")))
	name, value := i.server.Instance().Name, "overlaid"
	userData := []byte("\xff\x00binary")
	_, err := i.server.Service().SetInstance(t.Context(), name, control.InstanceUpdate{
		RoleName: new("app"), UserData: &userData, TagsInMetadata: new(true), Overlay: map[string]*string{"meta-data/extra/é b": &value, "meta-data/system": nil},
	})
	must(t, err)
	must(t, i.server.guests.Settle(t.Context(), name))
	token, seen := i.token(t), map[string]string{}
	for _, version := range []string{"latest", "2021-07-15", "1.0"} {
		for _, protocol := range []wire.IMDSVersion{"v1", "v2"} {
			with := map[wire.IMDSVersion]string{"v2": token}[protocol]
			for todo := []string{""}; len(todo) > 0; todo = todo[1:] {
				answer := i.tree(t, wire.GetMetadataTreeRequest{Version: version, Path: todo[0], Protocol: protocol, Reveal: true})
				if answer.Status != 200 {
					t.Fatalf("%s/%s by %s: %d", version, todo[0], protocol, answer.Status)
				}
				for _, e := range answer.Entries {
					path := version + "/" + strings.ReplaceAll(e.Path, " ", "%20")
					status, body := i.asks(t, path, with, "crawler/1")
					told := string(e.ValueBase64)
					if e.Value != nil {
						told = *e.Value
					}
					switch {
					case e.Kind == "directory":
						todo = append(todo, e.Path)
					case e.Kind == "absent" && status == 404:
					case e.Kind == "absent" || status != 200 || told != body && !strings.Contains(path, "security-credentials"): // which last from now on
						t.Errorf("%s by %s: %+v, the guest reads %d %q", path, protocol, e, status, body)
					}
					seen[e.Path] = e.Kind
				}
			}
		}
	}
	for path, kind := range map[string]string{
		"meta-data/ami-id": "value", "meta-data/iam/security-credentials/app": "secret", "user-data": "secret", "meta-data/extra/é b": "value",
		"dynamic/instance-identity/document": "value", "meta-data/placement": "directory",
	} {
		if seen[path] != kind {
			t.Errorf("%s is %q, want %q", path, seen[path], kind)
		}
	}
	if _, there := seen["meta-data/system"]; there {
		t.Error("what the overlay takes away is told")
	}
	var fleet wire.GetFleetResult
	asked := func() int64 {
		must(t, i.client.call(t.Context(), targetOpenIMDS+"GetFleet", map[string]any{}, &fleet))
		return *fleet.NoToken.Sum
	}
	before := asked()
	i.tree(t, wire.GetMetadataTreeRequest{Path: "meta-data", Protocol: "v1"})
	if n := asked(); n != before {
		t.Errorf("to look at the tree counts as %d calls", n-before)
	}
}

// The options decide what the tree shows as they do what the guest is answered.
func TestMetadataTreeObeysOptions(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(filepath.Join(t.TempDir(), "data")))
	status := func(protocol wire.IMDSVersion, path string) int {
		t.Helper()
		return i.tree(t, wire.GetMetadataTreeRequest{Protocol: protocol, Path: path}).Status
	}
	for _, c := range []struct {
		what   string
		update openimds.OptionsUpdate
		v1, v2 int
	}{
		{"optional", openimds.OptionsUpdate{}, 200, 200},
		{"required", openimds.OptionsUpdate{Tokens: new(openimds.TokensRequired)}, 401, 200},
		{"disabled", openimds.OptionsUpdate{Endpoint: new(openimds.EndpointDisabled)}, 403, 403},
	} {
		i.settle(t, c.update)
		if v1, v2 := status("v1", "meta-data"), status("v2", "meta-data"); v1 != c.v1 || v2 != c.v2 {
			t.Errorf("%s: %d and %d, want %d and %d", c.what, v1, v2, c.v1, c.v2)
		}
		if got, _ := i.asks(t, "latest/meta-data", "", "curl/8.0"); got != c.v1 {
			t.Errorf("%s: the guest is answered %d", c.what, got)
		}
	}
	i.settle(t, openimds.OptionsUpdate{Endpoint: new(openimds.EndpointEnabled)})
	if got := status("v2", "meta-data/nothing"); got != 404 {
		t.Errorf("what is not there: %d", got)
	}
	_, err := i.server.Service().StopInstance(t.Context(), i.server.Instance().Name)
	must(t, err)
	if got := status("v2", ""); got != 0 {
		t.Errorf("of a stopped instance: %d", got)
	}
}

// What the fleet's operations tell is what its guests did.
func TestFleetTold(t *testing.T) {
	t.Parallel()
	i := openInstallation(t, forTest(filepath.Join(t.TempDir(), "data")))
	must(t, i.client.call(t.Context(), targetOpenIMDS+"LaunchInstances", map[string]any{"instanceNames": []string{"unseen"}}, &struct{}{}))
	for n, agent := range []string{"curl/8.5.0", "curl/8.5.0", "curl/8.5.0", "Boto3/1.20.0 Python/3.8"} {
		i.asks(t, []string{"latest/meta-data/ami-id", "latest/user-data"}[n%2], "", agent)
	}
	i.asks(t, "latest/meta-data/ami-id", i.token(t), "modern/2")
	now := time.Now()
	var metric wire.GetFleetMetricDataResult
	must(t, i.client.call(t.Context(), targetOpenIMDS+"GetFleetMetricData", map[string]any{
		"metricName": openimds.MetricNoToken, "period": 300, "startTime": now.Add(-time.Hour).Unix(), "endTime": now.Add(time.Hour).Unix(),
	}, &metric))
	sum, worst := int64(0), int64(0)
	for _, p := range metric.Datapoints {
		sum += p.Sum
	}
	for _, w := range metric.Worst {
		worst += w.Sum
		for _, p := range w.Datapoints {
			worst -= p.Sum
		}
	}
	demo := i.server.Instance().Name
	if sum != 2 || len(metric.Worst) != 1 || metric.Worst[0].InstanceName != demo || metric.Worst[0].Sum != 2 || worst != 0 {
		t.Errorf("two calls found something: %+v", metric)
	}
	if len(metric.Incomplete) != 1 || !strings.Contains(metric.Incomplete[0], "of 1 instance:") || !strings.Contains(metric.Incomplete[0], "(unseen)") {
		t.Errorf("of an instance that nobody serves nothing is known, and it is told as %q", metric.Incomplete)
	}
	var callers wire.GetFleetCallersResult
	must(t, i.client.call(t.Context(), targetOpenIMDS+"GetFleetCallers", map[string]any{}, &callers))
	// The calls of one agent may be told in two parts: those whose process was seen in time, and the others.
	calls, groups := map[string]int64{}, map[string]bool{}
	for _, c := range callers.Callers {
		calls[c.UserAgent] += c.NoToken
		for _, group := range c.PathGroups {
			groups[c.UserAgent+" "+group] = true
		}
		if !slices.Equal(c.InstanceNames, []string{demo}) || c.Instances != 1 || len(c.Advice) == 0 || time.Since(c.LastWithoutToken.Time) > time.Hour {
			t.Errorf("a caller without a token: %+v", c)
		}
	}
	if len(calls) != 2 || calls["curl/8.5.0"] != 3 || calls["Boto3/1.20.0 Python/3.8"] != 1 || !groups["curl/8.5.0 meta-data"] || !groups["curl/8.5.0 user-data"] ||
		callers.Callers[0].UserAgent != "curl/8.5.0" || callers.Total != len(callers.Callers) || len(callers.Incomplete) != 1 {
		t.Errorf("%+v", callers)
	}
	must(t, i.client.call(t.Context(), targetOpenIMDS+"GetFleetCallers", map[string]any{"limit": 1}, &callers))
	if callers.Total < 2 || len(callers.Callers) != 1 {
		t.Errorf("one of them: %+v", callers)
	}
	for _, limit := range []int{0, 201} {
		if err := i.client.call(t.Context(), targetOpenIMDS+"GetFleetCallers", map[string]any{"limit": limit}, nil); err == nil || !strings.Contains(err.Error(), "1 to 200") {
			t.Errorf("a limit of %d: %v", limit, err)
		}
	}
	if audit := readAudit(t, i); strings.Contains(audit, "Fleet") {
		t.Error(fmt.Sprint("looking is in the audit log: ", audit))
	}
}
