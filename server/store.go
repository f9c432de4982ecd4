package server

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/audit/storelog"
	"github.com/openimds/openimds/records"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/bolt"
)

// healthEvery is how often the log learns whether a store that refused changes takes them again.
const healthEvery = time.Second

// How long the records of operations are kept, and those of an audit log that servers share, how many at most, and how often the others are forgotten.
const (
	operationsAge   = 90 * 24 * time.Hour
	operationsKept  = 50_000
	operationsEvery = time.Hour
	// rehearsalsEvery is how often the ends of rehearsals are written down.
	rehearsalsEvery = 5 * time.Second
)

// keptStore is a store with what the server asks of it beside the contract.
type keptStore interface {
	store.Store
	// Health says in one line why the store takes no changes; nil: it takes them. It never waits.
	Health() error
	// Refusing tells when it begins to refuse them, and why.
	Refusing() <-chan error
}

// openStore opens the store, with its records as this program lays them out.
func (s *Server) openStore(ctx context.Context) (err error) {
	if s.cfg.Store != "" {
		err = s.openShared(ctx)
	} else if s.file, err = bolt.Open(filepath.Join(s.cfg.DataDir, StoreFile)); err == nil {
		s.store, s.cfg.Host = s.file, cmp.Or(s.cfg.Host, openimds.LocalHost)
	}
	if err != nil {
		return err
	}
	if err := refuseCopying(ctx, s.store, cmp.Or(s.cfg.Store, s.cfg.DataDir)); err != nil {
		return err
	}
	return records.Upgrade(ctx, s.store, openimds.LocalHost)
}

// storeTrouble says in one line why the control side cannot do its work; nil: it can.
func (s *Server) storeTrouble(ctx context.Context) error {
	if err := s.store.Health(); err != nil {
		return err
	}
	if !s.storeAnswers(ctx) {
		return errors.New("the store does not answer")
	}
	return nil
}

// watchStore logs when the store begins to refuse changes, however soon that ends, and when it takes them
// again.
func (s *Server) watchStore(ctx context.Context) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for refusing := false; ; {
		select {
		case <-ctx.Done():
			return
		case err := <-s.store.Refusing():
			if !refusing {
				s.log.Error("changes are refused; guests are served as before", "error", err)
			}
			refusing = true
		case <-tick.C:
			if refusing && s.store.Health() == nil {
				s.log.Info("the store takes changes again")
				refusing = false
			}
		}
	}
}

// endRehearsals writes down again and again which rehearsals are over. No guest waits for it.
func (s *Server) endRehearsals(ctx context.Context, r *regional) {
	tick := time.NewTicker(rehearsalsEvery)
	defer tick.Stop()
	for failing := false; ; {
		if r.presence.Elected(ctx) != nil {
			return
		}
		err := r.service.EndRehearsals(ctx)
		if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
			return
		}
		if err != nil && !failing {
			s.log.Warn("the ends of rehearsals could not be written down; guests ended them in time; trying again", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pruneOperations forgets old operations, terminated instances, launches and shared audit entries now, for a process may not live for an hour, and every hour.
func (s *Server) pruneOperations(ctx context.Context, r *regional) {
	tick := time.NewTicker(operationsEvery)
	defer tick.Stop()
	for {
		if r.presence.Elected(ctx) != nil {
			return
		}
		n, err := r.service.PruneOperations(ctx, operationsAge, operationsKept)
		// What fails of one does not hinder the others: a record that cannot be read stays for long.
		_, rest := r.service.Forget(ctx)
		err = errors.Join(err, rest, storelog.New(r.kept, s.cfg.Host).Forget(ctx, time.Now(), operationsAge, operationsKept)) // the last also of servers that shared the store
		switch {
		case ctx.Err() != nil || errors.Is(err, store.ErrClosed):
			return
		case err != nil:
			s.log.Warn("old operations, launches, terminated instances or audit entries could not be forgotten; trying again in an hour", "error", err)
		case n > 0:
			s.log.Info("old operations were forgotten", "operations", n)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
