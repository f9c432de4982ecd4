package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/client"
)

// rest looks at a fleet in which nothing happens.
func (f *agents) rest(ctx context.Context, r *replica) (s still, err error) {
	received, sent := f.received(), f.sent()
	before, err := r.cpu()
	if err != nil {
		return s, err
	}
	began := time.Now()
	if err := sleep(ctx, stillFor); err != nil {
		return s, err
	}
	after, err := r.cpu()
	took := time.Since(began).Seconds()
	hosts := float64(len(f.all))
	s.cpu = (after - before).Seconds() / took
	s.sent, s.told = float64(f.received()-received)/took/hosts, float64(f.sent()-sent)/took/hosts
	return s, err
}

// change changes the options of instances of all hosts by the API, rate a second or as many as go, by so many clients at
// once, and waits for each until its host has it.
func (f *agents) change(ctx context.Context, r *replica, rest still, rate float64, clients int) (c changing, err error) {
	api, err := r.client(max(clients, 64))
	if err != nil {
		return c, err
	}
	received, written := map[*agent]int64{}, map[*agent]int64{}
	for _, a := range f.all {
		received[a], written[a] = a.received.Load(), a.kept.written.Load()
	}
	before, err := r.cpu()
	if err != nil {
		return c, err
	}
	began := time.Now()
	var mu sync.Mutex
	var failed error
	changed := map[*agent]bool{}
	one := func() {
		a := f.all[rand.IntN(len(f.all))]
		d, err := f.changeOne(ctx, api, a, a.instances[rand.IntN(len(a.instances))])
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed = err
			c.failed++
		} else {
			c.changes++
			c.milliseconds = append(c.milliseconds, float64(d)/float64(time.Millisecond))
			changed[a] = true
		}
	}
	over := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return ctx.Err() != nil || time.Since(began) > stillFor
	}
	var running sync.WaitGroup
	if rate > 0 {
		for n := 0; !over(); n++ {
			time.Sleep(time.Until(began.Add(time.Duration(float64(n) / rate * float64(time.Second)))))
			running.Go(one)
		}
	} else {
		for range clients {
			running.Go(func() {
				for !over() {
					one()
				}
			})
		}
	}
	running.Wait()
	if c.changes == 0 {
		return c, errors.Join(ctx.Err(), failed)
	}
	if failed != nil {
		log.Printf("%d changes have failed, the last with: %v", c.failed, failed)
	}
	c.took = time.Since(began)
	if err := sleep(ctx, time.Second); err != nil { // for the last of them to be marked
		return c, err
	}
	after, err := r.cpu()
	if err != nil {
		return c, err
	}
	n, lasted := float64(c.changes), time.Since(began).Seconds()
	c.cpu = time.Duration(((after - before).Seconds() - rest.cpu*lasted) / n * float64(time.Second))
	for _, a := range f.all {
		c.sent += (float64(a.received.Load()-received[a]) - rest.sent*lasted) / n
		told := a.kept.written.Load() - written[a]
		c.records += float64(told) / n
		if told > 0 && !changed[a] {
			c.strangers++
		}
		c.strangers += int(a.kept.strange.Load())
	}
	return c, nil
}

// changeOne changes an instance, and returns how long after the API's answer its host had the change; 0: it had it before.
func (f *agents) changeOne(ctx context.Context, api *client.Client, a *agent, name string) (time.Duration, error) {
	came := make(chan time.Time, 1)
	f.mu.Lock()
	if f.await[name] != nil { // somebody changes it
		f.mu.Unlock()
		return f.changeOne(ctx, api, a, a.instances[rand.IntN(len(a.instances))])
	}
	f.await[name] = came
	f.changes[name]++ // to the same would change nothing
	hops := 2 + f.changes[name]%60
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.await, name)
	}()
	_, err := client.Call(ctx, api, wire.UpdateInstanceMetadataOptions, wire.UpdateInstanceMetadataOptionsRequest{InstanceName: name, HTTPPutResponseHopLimit: &hops})
	if err != nil {
		return 0, err
	}
	answered := time.Now()
	select {
	case at := <-came:
		return max(0, at.Sub(answered)), nil
	case <-time.After(time.Minute):
		return 0, fmt.Errorf("the host %s does not get the change of %s", a.name, name)
	}
}

// client is one of the replica's control API, with so many connections.
func (r *replica) client(connections int) (*client.Client, error) {
	text, err := os.ReadFile(filepath.Join(r.dir, "credentials"))
	if err != nil {
		return nil, err
	}
	var keys aws.Credentials
	for line := range strings.Lines(string(text)) {
		switch key, value, _ := strings.Cut(line, "="); strings.TrimSpace(key) {
		case "aws_access_key_id":
			keys.AccessKeyID = strings.TrimSpace(value)
		case "aws_secret_access_key":
			keys.SecretAccessKey = strings.TrimSpace(value)
		}
	}
	return client.New(client.Config{
		Endpoint: "http://" + r.api, Region: region,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil }),
		HTTP:        &http.Client{Timeout: 5 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: connections}},
	})
}

// apiCall is a call of the API, made twice: the first time after a start may read more.
type apiCall struct {
	name          string
	first, second time.Duration
	cpu           time.Duration // of the second
	failure       string
}

// calls asks what looks at many instances or hosts.
func (r *replica) calls(ctx context.Context) (all []apiCall, err error) {
	api, err := r.client(4)
	if err != nil {
		return nil, err
	}
	for _, ask := range []struct {
		name string
		of   func() error
	}{
		{"GetInstances, a page", func() error {
			_, err := client.Call(ctx, api, wire.GetInstances, wire.GetInstancesRequest{})
			return err
		}},
		{"SearchInstances, a page", func() error {
			_, err := client.Call(ctx, api, wire.SearchInstances, wire.SearchInstancesRequest{Query: "web-00000"})
			return err
		}},
		{"GetFleet", func() error {
			_, err := client.Call(ctx, api, wire.GetFleet, wire.GetFleetRequest{})
			return err
		}},
		{"GetHosts", func() error {
			_, err := client.Call(ctx, api, wire.GetHosts, wire.Nothing{})
			return err
		}},
		{"GetHost", func() error {
			_, err := client.Call(ctx, api, wire.GetHost, wire.HostRequest{Host: hostName(0)})
			return err
		}},
		{"GetAttachments", func() error {
			_, err := client.Call(ctx, api, wire.GetAttachments, wire.Nothing{})
			return err
		}},
		{"GetAlarms", func() error {
			_, err := client.Call(ctx, api, wire.GetAlarms, wire.GetAlarmsRequest{})
			return err
		}},
	} {
		c := apiCall{name: ask.name}
		for _, took := range []*time.Duration{&c.first, &c.second} {
			before, err := r.cpu()
			if err != nil {
				return nil, err
			}
			began := time.Now()
			if err := ask.of(); err != nil {
				c.failure = err.Error()
			}
			*took = time.Since(began)
			after, err := r.cpu()
			if err != nil {
				return nil, err
			}
			c.cpu = after - before
		}
		all = append(all, c)
	}
	return all, nil
}
