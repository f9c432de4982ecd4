package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/client"
	"github.com/openimds/openimds/server"
	"github.com/openimds/openimds/store/etcd"
	"github.com/openimds/openimds/store/etcd/etcdtest"
)

// caller is a client of a process's control API.
func (p *process) caller(t *testing.T, service string) *client.Client {
	t.Helper()
	file := accesskeys.Open(filepath.Join(p.dir, server.CredentialsFile))
	all, err := file.List()
	must(t, err)
	key, _, err := file.Lookup(all[0].ID)
	must(t, err)
	c, err := client.New(client.Config{
		Service: service, Endpoint: "http://" + p.api, Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: key.ID, SecretAccessKey: key.Secret}, nil
		}),
	})
	must(t, err)
	return c
}

// TestServerKilled kills one of two servers that share a store while clients create instances at both: whatever was
// acknowledged is there at both, by pages that are begun at one and gone on with at the other; each operation comes to
// its end, though the one that ends them may have been killed; and each change has its one line in the log of the server
// that was asked.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	store := etcd.Scheme + etcdtest.Start(t, 1).Addresses()
	flags := []string{"--store", store, "--store-timeout", patience.String()}
	dirs := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	var servers [2]*process
	for i, dir := range dirs {
		servers[i] = startProcess(t, dir, flags...)
	}
	clients := [2]*client.Client{servers[0].caller(t, client.ServiceLightsail), servers[1].caller(t, client.ServiceLightsail)}

	load, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	made := map[string]string{} // the operation of each instance that was acknowledged
	var working sync.WaitGroup
	for worker := range 4 {
		working.Go(func() {
			for n := 0; load.Err() == nil; n++ {
				name := fmt.Sprintf("web-%d-%d", worker, n)
				var answer struct {
					Operations []struct{ ID string }
				}
				in := map[string]any{"instanceNames": []string{name}, "availabilityZone": "us-east-1a", "blueprintId": "debian_12", "bundleId": "nano_3_0"}
				err := ask(t.Context(), clients[n%2], targetLightsail+"CreateInstances", in, &answer)
				mu.Lock()
				if err == nil && len(answer.Operations) == 1 {
					made[name] = answer.Operations[0].ID
				}
				mu.Unlock()
			}
		})
	}
	acked := func() int { mu.Lock(); defer mu.Unlock(); return len(made) }
	must(t, eventually(func() bool { time.Sleep(time.Millisecond); return acked() > 40 }))
	must(t, servers[0].cmd.Process.Kill())
	_ = servers[0].cmd.Wait()
	before := acked()
	must(t, eventually(func() bool { time.Sleep(time.Millisecond); return acked() > before+40 })) // by the other one
	stop()
	working.Wait()
	servers[0] = startProcess(t, dirs[0], flags...)
	clients[0] = servers[0].caller(t, client.ServiceLightsail)

	listed := map[string]bool{}
	for token, n := "", 0; n == 0 || token != ""; n++ {
		var page struct {
			Instances     []struct{ Name string }
			NextPageToken string
		}
		must(t, ask(t.Context(), clients[n%2], targetLightsail+"GetInstances", map[string]string{"pageToken": token}, &page))
		for _, in := range page.Instances {
			listed[in.Name] = true
		}
		token = page.NextPageToken
	}
	lines, shared := auditLines(t, dirs), sharedLines(t, clients)
	n := 0
	for name, operation := range made {
		if !listed[name] {
			t.Errorf("%s was acknowledged and is not there", name)
		}
		if lines[operation] != 1 {
			t.Errorf("the creation of %s has %d lines in the logs", name, lines[operation])
		}
		if shared[operation] != 1 {
			t.Errorf("the creation of %s has %d lines in the log of both", name, shared[operation])
		}
		n++
		var answer struct{ Operation struct{ Status string } }
		must(t, eventually(func() bool {
			must(t, ask(t.Context(), clients[n%2], targetLightsail+"GetOperation", map[string]string{"operationId": operation}, &answer))
			return answer.Operation.Status == string(openimds.OperationSucceeded)
		}))
	}
	t.Logf("%d instances were acknowledged, %d are there", len(made), len(listed))
}

// auditPage is a page of the audit log that two servers have together.
type auditPage struct {
	Entries       []openimds.AuditEntry
	Server        string
	NextPageToken string
}

// auditEntries are all entries that the log of both has of a request, page after page, each of the other server.
func auditEntries(t *testing.T, clients [2]*client.Client, request map[string]any) (all []openimds.AuditEntry) {
	t.Helper()
	for n := 0; ; n++ {
		var page auditPage
		must(t, ask(t.Context(), clients[n%2], targetOpenIMDS+"GetAuditEntries", request, &page))
		all = append(all, page.Entries...)
		if request["pageToken"] = page.NextPageToken; page.NextPageToken == "" {
			return all
		}
	}
}

// sharedLines is auditLines of the log that both have together: of a change that was not made it has no line.
func sharedLines(t *testing.T, clients [2]*client.Client) map[string]int {
	t.Helper()
	lines := map[string]int{}
	for _, e := range auditEntries(t, clients, map[string]any{"what": "CreateInstances", "pageSize": 7}) {
		if e.Server == "" || e.Failure != "" {
			t.Errorf("%+v", e)
		}
		lines[e.Change]++
	}
	return lines
}

// TestServersAudit: whichever of two servers is asked, it tells at once what was changed at the other one, and within
// moments whom the other one refused; a server that has lost its data directory as well.
func TestServersAudit(t *testing.T) {
	t.Parallel()
	store := etcd.Scheme + etcdtest.Start(t, 1).Addresses()
	flags := []string{"--store", store, "--store-timeout", patience.String(), "--region", "us-east-1", "--region", "eu-west-1"}
	start := func(name string) *process {
		return startProcess(t, filepath.Join(t.TempDir(), name), append(flags, "--host", name)...)
	}
	a, b := start("a"), start("b")
	clients := [2]*client.Client{a.caller(t, client.ServiceLightsail), b.caller(t, client.ServiceLightsail)}
	for n, required := range []string{"required", "optional", "required", "optional"} {
		var answer struct{ Operation struct{ ID string } }
		must(t, ask(t.Context(), clients[n%2], targetLightsail+"UpdateInstanceMetadataOptions", map[string]any{"instanceName": "demo", "httpTokens": required}, &answer))
		var page auditPage
		must(t, ask(t.Context(), clients[(n+1)%2], targetOpenIMDS+"GetAuditEntries", map[string]any{"resource": "Instance/demo", "what": "UpdateInstanceMetadataOptions"}, &page))
		if len(page.Entries) != n+1 || page.Entries[0].Change != answer.Operation.ID || page.Entries[0].Server != []string{"a", "b"}[n%2] || page.Server != "" {
			t.Fatalf("after %d changes the other server tells %+v", n+1, page)
		}
	}
	var history struct {
		Changes []struct{ Operation string }
		Since   float64 `json:"knownSince"`
	}
	must(t, ask(t.Context(), clients[1], targetOpenIMDS+"GetOptionsHistory", map[string]any{"instanceName": "demo"}, &history))
	if len(history.Changes) < 4 || history.Since == 0 {
		t.Errorf("the history of options is %+v", history)
	}

	resp, err := http.Get("http://" + a.api + "/metrics") // without a signature
	must(t, err)
	must(t, resp.Body.Close())
	must(t, eventually(func() bool {
		time.Sleep(10 * time.Millisecond)
		refused := auditEntries(t, clients, map[string]any{"what": "GetMetrics", "failed": true})
		return len(refused) == 1 && refused[0].Server == "a"
	}))

	// The command asks a server where the log of its data directory is a part.
	shown := command(b.dir, "audit", "--data-dir", b.dir, "--resource", "Instance/demo", "--what", "UpdateInstanceMetadataOptions")
	text, err := shown.CombinedOutput()
	if lines := strings.Split(strings.TrimSpace(string(text)), "\n"); err != nil || len(lines) != 5 || !strings.Contains(lines[0], "SERVER") || !regexp.MustCompile(` a +.*options\.tokens: optional to required`).MatchString(lines[1]) ||
		!regexp.MustCompile(` b +.*options\.tokens: required to optional`).MatchString(lines[4]) {
		t.Errorf("%v:\n%s", err, text)
	}

	must(t, a.cmd.Process.Kill())
	_ = a.cmd.Wait()
	a = start("a") // in another directory
	clients[0] = a.caller(t, client.ServiceLightsail)
	if changes := auditEntries(t, clients, map[string]any{"resource": "demo", "what": "UpdateInstanceMetadataOptions", "pageSize": 1}); len(changes) != 4 {
		t.Errorf("%d changes are there: %+v", len(changes), changes)
	}
}

// auditLines counts how often the logs of all servers tell of each change that was made.
func auditLines(t *testing.T, dirs []string) map[string]int {
	t.Helper()
	lines := map[string]int{}
	for _, dir := range dirs {
		for e, err := range server.AuditLog(dir) {
			must(t, err)
			if e.What == "CreateInstances" && e.Failure == "" {
				lines[e.Change]++
			}
		}
	}
	return lines
}
