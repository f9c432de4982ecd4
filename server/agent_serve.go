package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/openimds/openimds/hostlink"
)

// Serve answers the guests of this host until the context ends, or the host is evicted: then nobody is answered any
// more, and what was kept of them is deleted. It is called once. What is under way then it ends within StopTimeout.
func (a *Agent) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, a.dog.start)()
	var running sync.WaitGroup
	defer running.Wait()
	besides, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	running.Go(func() { a.copy.Follow(besides, a.client) })
	running.Go(func() { a.keepCertified(besides) })
	running.Go(func() {
		select {
		case <-a.client.Evicted():
			// First of all, as what comes after may not come to its end: a start finds nothing to serve then.
			if err := a.copy.Forget(besides); err != nil {
				a.log.Error("what this host has served cannot be deleted yet; trying again at the end", "error", err)
			}
			cancel(hostlink.ErrEvicted)
		case <-besides.Done():
		}
	})
	if _, known := a.copy.About(); !known {
		a.log.Info("this host knows of no guest yet; waiting for a replica", "replicas", a.replicas)
		select {
		case <-ctx.Done():
			a.finish(nil, nil)
			return a.ended(ctx)
		case <-a.copy.Synced():
		}
	}
	// What changed while nobody was here comes first, if a replica is there to tell it: nobody is answered by what was
	// restricted since, nor for what is another host's by now.
	joining, joined := context.WithTimeout(ctx, a.joinTime)
	_ = a.copy.InStep(joining, len(a.replicas)) // else by what was known last
	about, _ := a.copy.About()
	a.openRegions(joining, about)
	joined()
	running.Go(func() { a.usage.Run(besides) })
	for _, r := range a.regions {
		running.Go(func() { r.guests.Run(besides) })
		running.Go(func() { r.presence.Run(besides, r.tellAll, nil) })
		running.Go(func() { a.tellRefusals(besides, r, a.tellReplica(r)) })
	}
	running.Go(func() { a.signer.Run(besides, about, a.links) })
	a.runHost(besides, ctx, &running)
	a.runHandover(besides, &running)
	running.Go(func() { a.tellReady(ctx, cancel) })
	running.Go(func() { a.watchRegions(besides, about) })
	counting, counted := context.WithCancel(besides)
	defer counted()
	var carrying sync.WaitGroup
	counts := a.carrier()
	carrying.Go(func() { counts.Run(counting, a.cfg.stopTimes().lastTelling()) })
	running.Go(func() { a.tellMetrics(besides, counts) })
	running.Go(func() { a.servePrometheus(besides, cancel) })
	<-ctx.Done()
	a.finish(func() { counted(); carrying.Wait() }, counts.Told)
	return a.ended(ctx)
}

// ended is why Serve returns.
func (a *Agent) ended(ctx context.Context) error {
	select {
	case <-a.client.Evicted(): // also where it was to end anyway: what it has kept is not its own any more
		a.evicted = true
		return fmt.Errorf("the host %s serves nobody any more: %w", a.cfg.Host, hostlink.ErrEvicted)
	default:
	}
	cause := context.Cause(ctx)
	if cause != ctx.Err() && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// finish ends what is under way: answers first, then what they left to be counted, which carry tells the replicas. Where the
// engine of the metrics has been told all, they hear it from told.
func (a *Agent) finish(carry func(), told func(context.Context) error) {
	a.dog.start()
	a.sources.Stop()
	a.log.Info("stopping")
	times := a.cfg.stopTimes()
	deadline, done := context.WithTimeout(context.Background(), times.answers)
	defer done()
	counts, counted := context.WithTimeout(context.Background(), times.counts)
	defer counted()
	a.dog.at("answers under way")
	var stopping sync.WaitGroup
	for _, r := range a.regions {
		stopping.Go(func() {
			if err := r.guests.Shutdown(deadline); err != nil {
				a.log.Warn("some guests' answers were cut off", "error", err)
			}
		})
	}
	stopping.Wait()
	a.dog.at("the last counts to be stored")
	unstored := a.usage.Close(counts)
	if unstored != nil {
		a.log.Warn("the last counts could not be stored", "error", unstored)
	}
	a.dog.at("the replicas and the engine of the metrics, which are told the last counts")
	var telling sync.WaitGroup
	if carry != nil {
		telling.Go(carry)
	}
	toldAll := false
	if a.labelled.Load() {
		telling.Go(func() { toldAll = a.tellLastMetrics(counts, times.lastTelling()) })
	}
	telling.Wait()
	if toldAll && unstored == nil {
		if err := told(counts); err != nil {
			a.log.Info("the replicas do not know that the engine of the metrics was told all; they hear it after the next start", "error", err)
		}
	}
	a.dog.at("what runs beside the answers")
}

// tellReady tells scripts that the guests are answered that were attached at the start.
func (a *Agent) tellReady(ctx context.Context, cancel context.CancelCauseFunc) {
	if a.host != nil {
		select {
		case <-a.settled:
		case <-ctx.Done():
			return
		}
	}
	attached := 0
	for state, n := range a.attachmentStates() {
		if state == "attached" || state == "impaired" {
			attached += n
		}
	}
	a.log.Info("guests are served", "host", a.cfg.Host, "attached", attached)
	if a.cfg.ReadyFile == "" {
		return
	}
	text := fmt.Sprintf("host=%s\nattached=%d\n", a.cfg.Host, attached)
	if a.scraped != nil {
		text += fmt.Sprintf("prometheus=%s\n", a.scraped.Addr())
	}
	if err := a.cfg.placeReadyFile(text); err != nil {
		cancel(err)
	}
}

// watchRegions says that a region was added, which this process has no guest side for.
func (a *Agent) watchRegions(ctx context.Context, began hostlink.About) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now, known := a.copy.About(); known && !slices.Equal(now.Regions, began.Regions) {
			a.log.Warn("the replicas have other regions by now; start this agent anew to serve their instances", "regions", now.Regions, "served", began.Regions)
			return
		}
	}
}

// keepCertified renews the certificate in time. While no replica can be reached the host goes on serving, and asks again.
func (a *Agent) keepCertified(ctx context.Context) {
	tick := time.NewTicker(a.renewEvery)
	defer tick.Stop()
	for told := ""; ; {
		if a.identity.Due() {
			err := a.identity.Renew(ctx, a.client.Renew)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				told = ""
				a.client.Renewed()
				a.log.Info("this host's certificate was renewed", "ends", a.identity.Ends())
			case told != err.Error():
				told = err.Error()
				a.log.Warn("this host's certificate cannot be renewed; trying again", "ends", a.identity.Ends(), "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
