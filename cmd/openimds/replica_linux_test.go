package main

import (
	"context"
	"fmt"
	"path/filepath"
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
	lines := auditLines(t, dirs)
	n := 0
	for name, operation := range made {
		if !listed[name] {
			t.Errorf("%s was acknowledged and is not there", name)
		}
		if lines[operation] != 1 {
			t.Errorf("the creation of %s has %d lines in the logs", name, lines[operation])
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
