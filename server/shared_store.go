package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/etcd"
)

// dataDirLock is held by the server whose data directory it is, where no store in it says so.
const dataDirLock = "server.lock"

// etcdOf is where the shared store of a Config is.
func (c *Config) etcdOf() (etcd.Config, error) {
	address, err := etcd.ParseAddress(c.Store)
	return etcd.Config{
		Address: address, CA: c.StoreCA, Cert: c.StoreCert, Key: c.StoreKey, Insecure: c.StoreInsecure,
		User: c.StoreUser, PasswordFile: c.StorePasswordFile, Timeout: c.StoreTimeout,
	}, err
}

// checkStore refuses what no store can be opened by.
func (c *Config) checkStore() error {
	if err := openimds.ValidateHost(c.Host); err != nil {
		return invalid("%s: %w", c.named("Host"), err)
	}
	if c.Store == "" {
		for member, given := range map[string]bool{
			"StoreCA": c.StoreCA != "", "StoreCert": c.StoreCert != "", "StoreKey": c.StoreKey != "",
			"StoreUser": c.StoreUser != "", "StorePasswordFile": c.StorePasswordFile != "", "StoreInsecure": c.StoreInsecure,
		} {
			if given {
				return invalid("%s is of a store in a cluster; give %s too", c.named(member), c.named("Store"))
			}
		}
		return nil
	}
	at, err := c.etcdOf()
	if err == nil {
		err = at.Validate()
	}
	if errors.Is(err, etcd.ErrClear) {
		return invalid("%s: %w; give %s, or %s if the network is safe", c.named("Store"), err, c.named("StoreCA"), c.named("StoreInsecure"))
	}
	if err != nil {
		return invalid("%s: %w", c.named("Store"), err)
	}
	return nil
}

// openShared opens a store that other servers have too.
func (s *Server) openShared(ctx context.Context) error {
	unlock, err := safefile.Lock(filepath.Join(s.cfg.DataDir, dataDirLock))
	if err != nil {
		return fmt.Errorf("the data directory %s is in use by another process (%w); stop that one or choose another with %s", s.cfg.DataDir, err, s.cfg.named("DataDir"))
	}
	s.unlock = unlock
	at, err := s.cfg.etcdOf()
	if err != nil {
		return err
	}
	if err := s.cfg.clearReadyFile(); err != nil {
		return err
	}
	kept, err := s.awaitStore(ctx, at)
	if err != nil {
		return err
	}
	s.store = kept
	if s.cfg.Host == "" { // each server needs a name for what it tells of itself
		s.nameless, s.cfg.Host = true, "server-"+openimds.NewUUID()
	}
	return s.refuseForgetting(ctx)
}

// refuseForgetting refuses to begin anew beside a data directory's own store: its instances and their restrictions
// would be gone without a word.
func (s *Server) refuseForgetting(ctx context.Context) error {
	if _, err := os.Lstat(filepath.Join(s.cfg.DataDir, StoreFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	page, err := s.store.List(ctx, store.Range{Limit: 1})
	if err != nil || len(page.Records) > 0 {
		return err
	}
	return fmt.Errorf("the data directory %s has a store, and that in %s is empty: carry it over with 'openimds store copy --from %s --to %s', or choose another %s",
		s.cfg.DataDir, s.cfg.Store, s.cfg.DataDir, s.cfg.Store, s.cfg.named("DataDir"))
}
