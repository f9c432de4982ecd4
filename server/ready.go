package server

import (
	"errors"
	"fmt"
	"strings"

	"github.com/openimds/openimds/safefile"
)

// clearReadyFile takes back what an earlier run said, and finds out whether this one can say it: a
// script must neither take that for an answer nor wait for ever. It comes after the store is locked,
// so that a start in vain leaves a running server's file alone.
func (c *Config) clearReadyFile() error {
	if c.ReadyFile == "" {
		return nil
	}
	if err := safefile.Clear(c.ReadyFile); errors.Is(err, safefile.ErrNotFile) {
		return invalid("%s %w", c.named("ReadyFile"), err)
	} else if err != nil {
		return c.noReadyFile(err)
	}
	return nil
}

// writeReadyFile tells scripts that both sides answer, and where. It appears whole or not at all.
func (s *Server) writeReadyFile() error {
	if s.cfg.ReadyFile == "" {
		return nil
	}
	var text strings.Builder
	for _, addr := range s.IMDSAddrs() {
		fmt.Fprintf(&text, "imds=%s\n", addr)
	}
	for _, addr := range s.APIAddrs() {
		fmt.Fprintf(&text, "api=%s\n", addr)
	}
	fmt.Fprintf(&text, "api_url=%s\n", s.APIURL())
	if addr := s.HostsAddr(); addr != nil {
		fmt.Fprintf(&text, "hosts=%s\n", addr)
	}
	return s.cfg.placeReadyFile(text.String())
}

func (c *Config) placeReadyFile(text string) error {
	if err := safefile.Write(c.ReadyFile, []byte(text), 0o644); err != nil {
		return c.noReadyFile(err)
	}
	return nil
}

func (c *Config) noReadyFile(err error) error {
	return fmt.Errorf("cannot write %s: %w", c.named("ReadyFile"), err)
}
