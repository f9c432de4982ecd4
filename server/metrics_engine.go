package server

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
	"github.com/openimds/openimds/usage/engine"
	"github.com/openimds/openimds/usage/history"
)

// metricsFile has the samples of this server in its data directory where the store is shared with others.
const metricsFile = "metrics.db"

func (c *Config) metricsAccess() engine.Access {
	return engine.Access{CA: c.MetricsCA, TokenFile: c.MetricsTokenFile, User: c.MetricsUser, PasswordFile: c.MetricsPasswordFile}
}

// checkMetrics refuses what no engine of metrics can be reached by.
func (c *Config) checkMetrics() error {
	if err := c.checkEngine(); err != nil || c.MetricsWrite == "" && c.MetricsFrom == "" {
		return err
	}
	if c.MetricsWrite != "" && c.MetricsFrom != "" {
		return nil
	}
	write, from := c.named("MetricsWrite"), c.named("MetricsFrom")
	if c.Store != "" {
		return invalid("%s and %s belong together where %s is shared: what one server counts, the others have from there", write, from, c.named("Store"))
	}
	if c.HostsListen != "" {
		return invalid("%s and %s belong together with %s: what hosts without a store count, the server has from there", write, from, c.named("HostsListen"))
	}
	return nil
}

// checkEngine is checkMetrics of what an agent and a server share.
func (c *Config) checkEngine() error {
	write, from := c.named("MetricsWrite"), c.named("MetricsFrom")
	if c.MetricsWrite == "" && c.MetricsFrom == "" {
		for member, given := range map[string]bool{
			"MetricsCA": c.MetricsCA != "", "MetricsTokenFile": c.MetricsTokenFile != "",
			"MetricsUser": c.MetricsUser != "", "MetricsPasswordFile": c.MetricsPasswordFile != "",
		} {
			if given {
				return invalid("%s is of an engine of metrics; give %s or %s too", c.named(member), write, from)
			}
		}
		return nil
	}
	access := c.metricsAccess()
	for member, target := range map[string]string{"MetricsWrite": c.MetricsWrite, "MetricsFrom": c.MetricsFrom} {
		if target == "" {
			continue
		}
		if err := access.Validate(target); err != nil {
			return invalid("%s: %w", c.named(member), err)
		}
	}
	return nil
}

// openMetrics makes the history of what is counted, which an engine of metrics is told, and asked of what others count.
func (s *Server) openMetrics(ctx context.Context) (*history.History, error) {
	settings := history.Config{Store: s.store, Host: s.cfg.Host, Former: control.FormerHosts(s.store)}
	if s.cfg.MetricsWrite == "" && s.cfg.MetricsFrom == "" {
		return history.New(settings), nil
	}
	access := s.cfg.metricsAccess()
	if err := access.Check(); err != nil {
		return nil, err
	}
	installation, err := engine.Installation(ctx, s.store)
	if err != nil {
		return nil, err
	}
	if s.file == nil { // what is counted does not pass through the cluster
		if s.metricsStore, err = bolt.Open(filepath.Join(s.cfg.DataDir, metricsFile)); err != nil {
			return nil, err
		}
		_, told, err := engine.Told(ctx, s.store)
		if err != nil {
			return nil, err
		}
		if !told { // else the engine has what was counted before
			settings.Earlier, settings.EarlierHost = s.store, s.cfg.Host
		}
		settings.Store, settings.Host = s.metricsStore, openimds.LocalHost
		settings.Marks, settings.MarkedAs = s.store, s.cfg.Host
	}
	if s.cfg.MetricsFrom != "" {
		if settings.Others, err = engine.NewReader(engine.ReaderConfig{URL: s.cfg.MetricsFrom, Access: access, Installation: installation}); err != nil {
			return nil, err
		}
	}
	// The name is the history's also where the engine is only asked: it may have been told before.
	s.told, err = engine.OpenWriter(ctx, engine.WriterConfig{
		URL: s.cfg.MetricsWrite, Access: access, Store: settings.Store, Installation: installation, Host: s.cfg.Host, Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	settings.Name = s.told.Name()
	if s.cfg.MetricsWrite == "" {
		s.told = nil
		return history.New(settings), nil
	}
	settings.Kept = s.told.Kept
	h := history.New(settings)
	s.told.From(h)
	if settings.Marks != nil && !s.nameless { // who has no name has no instances that others might have, too
		s.mark = &metricsMark{store: settings.Marks, host: settings.MarkedAs, before: s.told.Before}
	}
	return h, nil
}

// tellMetrics tells the engine of the metrics, if there is one, what is counted, until the context ends.
func (s *Server) tellMetrics(ctx context.Context) {
	if s.told == nil {
		return
	}
	var marking sync.WaitGroup
	if s.mark != nil {
		marking.Go(func() { s.mark.run(ctx) })
	}
	s.told.Run(ctx)
	marking.Wait()
}

// tellLastMetrics tells it the last counts, in the time that there is, and says whether it knows all then.
func (s *hosting) tellLastMetrics(ctx context.Context, in time.Duration) bool {
	if s.told == nil {
		return false
	}
	ctx, done := context.WithTimeout(ctx, in)
	defer done()
	err := s.told.Close(ctx)
	if err != nil {
		s.log.Warn("the engine of the metrics was not told the last counts; it is told after the next start", "error", err)
	}
	return err == nil
}

// closeMetrics lets go of the samples.
func (s *Server) closeMetrics() {
	if s.metricsStore == nil {
		return
	}
	if err := s.metricsStore.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
		s.log.Error("the store of the metrics did not close cleanly", "error", err)
	}
}
