package server

import (
	"context"
	"path/filepath"
	"time"

	"github.com/openimds/openimds/identity"
)

// keyCheckTime is how often a running server looks for keys that were rotated or imported.
const keyCheckTime = 5 * time.Second

// useIdentityKeys keeps the signer in step with the files until the context ends. Keys that cannot be
// read change nothing: the earlier ones go on signing.
func (s *Server) useIdentityKeys(ctx context.Context) {
	tick := time.NewTicker(keyCheckTime)
	defer tick.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		keys, err := identity.Load(filepath.Join(s.cfg.DataDir, IdentityDir))
		if err == nil {
			s.signer.Use(keys, time.Now())
		} else if !failed {
			s.log.Warn("the identity keys cannot be read; signing with the earlier ones", "error", err)
		}
		failed = err != nil
	}
}
