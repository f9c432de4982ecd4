package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/lifecycle"
)

// Serve answers both sides until the context ends or one of them fails; it is called once. Then it ends what
// is under way within Config.StopTimeout: answers first, then the last counts are stored. It returns nil where the
// context has ended without a cause of its own, or with one that is [context.Canceled].
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, s.dog.start)()
	var running sync.WaitGroup
	defer running.Wait()
	s.serveListeners(&running, cancel)
	besides, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	for _, run := range []func(context.Context){s.useIdentityKeys, s.usage.Run, s.tellMetrics, s.watchStore} {
		running.Go(func() { run(besides) })
	}
	for _, r := range s.regions {
		s.runRegion(ctx, besides, r, &running)
	}
	if s.certificates != nil {
		running.Go(func() { s.certificates.Run(besides) })
	}
	if s.hosts != nil {
		running.Go(func() { s.hosts.authority.Run(besides) })
		running.Go(func() { s.hosts.door.Run(besides) })
	}
	if others := s.auditOthers.Load(); others != nil {
		running.Go(func() { others.Run(besides) })
	}
	if s.console != nil {
		running.Go(func() { s.console.Run(ctx) }) // its streams end before the answers are waited for
	}
	s.runHost(besides, ctx, &running)
	s.runHandover(besides, &running)
	if s.file != nil {
		s.runBackups(besides, &running)
	}
	if s.shared != nil {
		running.Go(func() { s.shared.run(besides) })
	}
	if err := s.writeReadyFile(); err != nil {
		cancel(err)
	}
	<-ctx.Done()
	s.finish()
	if cause := context.Cause(ctx); cause != ctx.Err() && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// runRegion does what a region has to do beside the answers until besides ends; some of it ends with ctx.
func (s *Server) runRegion(ctx, besides context.Context, r *regional, running *sync.WaitGroup) {
	running.Go(func() { r.guests.Run(besides) })
	running.Go(func() { s.pruneOperations(besides, r) })
	running.Go(func() { s.endRehearsals(besides, r) })
	running.Go(func() { r.service.FollowRefusals(besides, s.log) })
	running.Go(func() { s.tellRefusals(besides, r, r.service.KeepRefused) })
	running.Go(func() { r.presence.Run(besides, r.tellAll, r.settle) })
	running.Go(func() {
		lifecycle.Run(besides, lifecycle.Config{
			Service: r.service, Store: r.kept, Turn: r.presence.Elected, Lasts: s.cfg.TransitionTime, Log: s.log,
		})
	})
	running.Go(func() { r.alarms.Run(ctx) }) // a webhook that hangs is not waited for
}

// serveListeners answers on all listeners; the first that fails is the cause of the end.
func (s *Server) serveListeners(running *sync.WaitGroup, cancel context.CancelCauseFunc) {
	for _, l := range s.imdsL {
		running.Go(func() {
			if err := s.guests.Serve(l, s.instance.Name); !errors.Is(err, imds.ErrServerClosed) {
				cancel(fmt.Errorf("the guest side on %s failed: %w", l.Addr(), err))
			}
		})
	}
	if s.hosts != nil {
		running.Go(func() {
			if err := s.hosts.door.Serve(s.hosts.listener); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("the door for hosts on %s failed: %w", s.HostsAddr(), err))
			}
		})
	}
	s.api = newAPIServer(s)
	for _, l := range s.apiL {
		running.Go(func() {
			if err := s.api.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("the control API on %s failed: %w", l.Addr(), err))
			}
		})
	}
}

// finish ends what is under way: answers first, then what they left to be stored.
func (s *Server) finish() {
	s.dog.start()
	s.sources.Stop() // their programs too
	s.log.Info("stopping")
	times := s.cfg.stopTimes()
	deadline, done := context.WithTimeout(context.Background(), times.answers)
	defer done()
	counts, counted := context.WithTimeout(context.Background(), times.counts)
	defer counted()
	s.dog.at("answers under way")
	var stopping sync.WaitGroup
	for _, r := range s.regions {
		stopping.Go(func() {
			if err := r.guests.Shutdown(deadline); err != nil {
				s.log.Warn("some guests' answers were cut off", "error", err)
			}
		})
	}
	stopping.Go(func() {
		if err := s.api.Shutdown(deadline); err != nil {
			s.log.Warn("some control requests were cut off", "error", err)
		}
	})
	if s.hosts != nil {
		stopping.Go(func() {
			if err := s.hosts.door.Shutdown(deadline); err != nil {
				s.log.Warn("some hosts' requests were cut off", "error", err)
			}
		})
	}
	stopping.Wait()
	s.dog.at("the last counts to be stored")
	unstored := s.usage.Close(counts)
	if unstored != nil {
		s.log.Warn("the last counts could not be stored", "error", unstored)
	}
	s.dog.at("the engine of the metrics")
	if s.tellLastMetrics(counts, times.lastTelling()) && unstored == nil && s.mark != nil {
		if err := s.mark.end(counts); err != nil {
			s.log.Info("other servers do not know that the engine of the metrics was told all; they do after the next start", "error", err)
		}
	}
	s.dog.at("what runs beside the answers")
}

// Close gives back all that [Open] took: listeners, the host's network, files. It follows [Server.Serve], or
// takes its place. What could not be left as it should be is told to the log.
func (s *Server) Close() {
	defer s.dog.end()
	for _, l := range slices.Concat(s.imdsL, s.apiL) {
		_ = l.Close()
	}
	if s.hosts != nil {
		_ = s.hosts.listener.Close()
	}
	if s.door != nil {
		s.door.close()
	}
	s.dog.at("the reports that are being made")
	for _, r := range s.regions {
		if r.board != nil {
			r.board.Close()
		}
	}
	if s.host != nil {
		s.dog.at("the host's network")
		if err := s.host.Close(); err != nil {
			s.log.Warn("the host's network could not be left as it was", "error", err)
		}
	}
	s.dog.at("the names of callers")
	s.naming.Close()
	if s.sources != nil {
		s.dog.at("the sources of credentials")
		s.sources.Close()
	}
	s.dog.at("the audit log")
	s.closeAudit()
	s.dog.at("the store of the metrics, which is the disk's to answer")
	s.closeMetrics()
	if s.store != nil {
		s.dog.at("the store, which is the disk's to answer")
		if err := s.store.Close(); err != nil {
			s.log.Error("the store did not close cleanly", "error", err)
		}
	}
	if s.unlock != nil {
		s.unlock()
	}
}
