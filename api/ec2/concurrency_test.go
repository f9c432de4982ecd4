package ec2_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// options are an instance's, or a change of them; what is empty keeps its value.
type options struct{ tokens, endpoint, hops, tags string }

func (o options) over(was options) options {
	for of, value := range map[*string]string{&was.tokens: o.tokens, &was.endpoint: o.endpoint, &was.hops: o.hops, &was.tags: o.tags} {
		if value != "" {
			*of = value
		}
	}
	return was
}

var optionsModel = porcupine.Model{
	Init: func() any { return options{"optional", "enabled", "1", "disabled"} },
	Step: func(state, input, output any) (bool, any) {
		if change, writes := input.(options); writes {
			return true, change.over(state.(options))
		}
		return state == output, state
	},
}

// write changes options through one of the two APIs.
func (s *server) write(o options, through string) {
	if through == "ec2" {
		parameters := "Action=ModifyInstanceMetadataOptions&InstanceId=" + s.demo
		for name, value := range map[string]string{"HttpTokens": o.tokens, "HttpEndpoint": o.endpoint, "HttpPutResponseHopLimit": o.hops, "InstanceMetadataTags": o.tags} {
			if value != "" {
				parameters += "&" + name + "=" + value
			}
		}
		s.must(parameters)
		return
	}
	members := []string{`"instanceName":"demo"`}
	for name, value := range map[string]string{"httpTokens": o.tokens, "httpEndpoint": o.endpoint, "instanceMetadataTags": o.tags} {
		if value != "" {
			members = append(members, fmt.Sprintf("%q:%q", name, value))
		}
	}
	if o.hops != "" {
		members = append(members, `"httpPutResponseHopLimit":`+o.hops)
	}
	s.lightsail("UpdateInstanceMetadataOptions", "{"+strings.Join(members, ",")+"}")
}

// look reads options through one of the two APIs.
func (s *server) look(through string) options {
	if through == "ec2" {
		shown := s.must("Action=DescribeInstances&InstanceId.1=" + s.demo)
		one := func(name string) string { return values(shown, name)[0] }
		return options{one("httpTokens"), one("httpEndpoint"), one("httpPutResponseHopLimit"), one("instanceMetadataTags")}
	}
	o := s.lightsail("GetInstance", `{"instanceName":"demo"}`)["instance"].(map[string]any)["metadataOptions"].(map[string]any)
	return options{o["httpTokens"].(string), o["httpEndpoint"].(string), fmt.Sprint(o["httpPutResponseHopLimit"]), o["instanceMetadataTags"].(string)}
}

// TestConcurrentAPIs has writers change the options of one instance through both APIs while others read them through
// both: there must be an order of the changes that explains every answer.
func TestConcurrentAPIs(t *testing.T) {
	t.Parallel()
	const writers, writes, readers, reads = 8, 10, 2, 20
	s := newServer(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	apis := []string{"ec2", "lightsail"}
	var mu sync.Mutex
	var history []porcupine.Operation
	began := time.Now()
	do := func(client int, input any, request func() any) {
		called := time.Since(began).Nanoseconds()
		output := request()
		returned := time.Since(began).Nanoseconds()
		mu.Lock()
		defer mu.Unlock()
		history = append(history, porcupine.Operation{ClientId: client, Input: input, Call: called, Output: output, Return: returned})
	}
	var clients sync.WaitGroup
	for w := range writers {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(w))) //nolint:gosec // which changes, not a secret
			for range writes {
				change := options{
					[]string{"", "optional", "required"}[r.IntN(3)], []string{"", "enabled", "disabled"}[r.IntN(3)],
					[]string{"", "1", "2", "3", "64"}[r.IntN(5)], []string{"", "enabled", "disabled"}[r.IntN(3)],
				}
				do(w, change, func() any { s.write(change, apis[w%2]); return nil })
			}
		})
	}
	for r := range readers {
		clients.Go(func() {
			for range reads {
				do(writers+r, nil, func() any { return s.look(apis[r%2]) })
			}
		})
	}
	clients.Wait()
	do(writers+readers, nil, func() any { return s.look("ec2") })
	do(writers+readers, nil, func() any { return s.look("lightsail") })
	if !porcupine.CheckOperations(optionsModel, history) {
		t.Errorf("no order of these requests explains their answers: %+v", history)
	}
}
