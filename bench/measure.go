package main

import (
	"context"
	"log"
	"slices"
	"time"
)

// figures are the results of one server in one scenario, a value of each for a round.
type figures struct {
	cpu      []float64 // microseconds a request, of the server
	rate     []float64 // requests a second
	p50, p99 []float64 // microseconds
}

// comparison is the result of measuring all servers.
type comparison struct {
	servers []*server
	results map[string]map[string]*figures // by server and scenario
	after   map[string]memory              // by server
}

// measure loads the servers in turns. pinned gives the servers one core and wrk another, which tells
// what a request costs; else all share all cores, which tells what a user gets.
func (b *bench) measure(ctx context.Context, pinned bool) (*comparison, error) {
	core, client := anyCore, anyCore
	if pinned {
		core, client = serverCore, clientCore
	}
	log.Printf("starting the servers (pinned: %v)", pinned)
	servers, err := b.startServers(ctx, core)
	defer func() {
		for _, s := range servers {
			s.process.stop()
		}
	}()
	if err != nil {
		return nil, err
	}
	c := &comparison{servers: servers, results: map[string]map[string]*figures{}, after: map[string]memory{}}
	for round := range b.rounds {
		log.Printf("round %d of %d (pinned: %v)", round+1, b.rounds, pinned)
		for i, sc := range scenarios() {
			for j := range servers {
				s := servers[(j+round)%len(servers)] // nobody is always the first
				if s.few && i > 0 {
					continue
				}
				if err := b.measureOnce(ctx, client, s, sc, c.of(s, sc)); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, s := range servers {
		if c.after[s.name], err = s.process.memory(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (b *bench) measureOnce(ctx context.Context, client int, s *server, sc scenario, f *figures) error {
	before, err := s.process.cpu()
	if err != nil {
		return err
	}
	l, err := b.wrk(ctx, client, s, sc)
	if err != nil {
		return err
	}
	after, err := s.process.cpu()
	if err != nil {
		return err
	}
	f.cpu = append(f.cpu, float64((after-before)/time.Microsecond)/float64(l.Requests))
	f.rate = append(f.rate, float64(l.Requests)/float64(l.Microseconds)*1e6)
	f.p50 = append(f.p50, l.P50)
	f.p99 = append(f.p99, l.P99)
	return nil
}

// of returns where the figures of a server in a scenario go.
func (c *comparison) of(s *server, sc scenario) *figures {
	if c.results[s.name] == nil {
		c.results[s.name] = map[string]*figures{}
	}
	if c.results[s.name][sc.name] == nil {
		c.results[s.name][sc.name] = &figures{}
	}
	return c.results[s.name][sc.name]
}

// median returns the middle of values; of an even number, the mean of the two in the middle.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// quantile returns the value that so large a part of the values is not above.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
