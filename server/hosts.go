package server

import (
	"context"
	"fmt"
	"net"

	"github.com/openimds/openimds/hostcert"
	"github.com/openimds/openimds/hostdoor"
	"github.com/openimds/openimds/usage/engine"
)

// hosts lets in the hosts that have no store of their own.
type hosts struct {
	authority *hostcert.Authority
	door      *hostdoor.Door
	listener  net.Listener
	addresses []string
}

// openAuthority makes the authority that hosts are known by, before the rules that enroll them.
func (s *Server) openAuthority(ctx context.Context) error {
	if s.cfg.HostsListen == "" {
		return nil
	}
	authority, err := hostcert.Open(ctx, hostcert.Config{Store: s.store, CAFile: s.cfg.HostsCA, Now: s.cfg.hostsNow, Log: s.log})
	if err != nil {
		return fmt.Errorf("%s: %w", s.cfg.named("HostsListen"), err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.HostsListen)
	if err != nil {
		return cannotListen(s.cfg.named("HostsListen"), s.cfg.HostsListen, err)
	}
	s.hosts = &hosts{authority: authority, listener: l, addresses: s.cfg.HostsAddresses}
	if len(s.hosts.addresses) == 0 {
		s.hosts.addresses = []string{reachable(l.Addr().String())}
	}
	return nil
}

// AuthorityPEM implements control.HostDoor.
func (h *hosts) AuthorityPEM() []byte { return h.authority.CertificatePEM() }

// Addresses implements control.HostDoor.
func (h *hosts) Addresses() []string { return h.addresses }

// openDoor makes the door, once there are rules for who comes.
func (s *Server) openDoor(ctx context.Context) error {
	if s.hosts == nil {
		return nil
	}
	cfg := hostdoor.Config{
		Authority: s.hosts.authority, Home: s.homeName, Whole: s.store, Signer: s.signer, Refused: s.refusals.Tell,
		Program: s.cfg.Version, Log: s.log,
	}
	if s.cfg.MetricsFrom != "" {
		var err error
		if cfg.Installation, err = engine.Installation(ctx, s.store); err != nil {
			return err
		}
	}
	for _, r := range s.regions {
		cfg.Regions = append(cfg.Regions, hostdoor.Region{Name: r.region, Store: r.kept, Service: r.service})
	}
	s.hosts.door = hostdoor.New(cfg)
	s.hosts.door.UseTLS(s.hosts.authority.ServerTLS())
	return nil
}

// HostsAddr is where hosts are let in; nil: nowhere.
func (s *Server) HostsAddr() net.Addr {
	if s.hosts == nil {
		return nil
	}
	return s.hosts.listener.Addr()
}

// checkHosts refuses what no door can be made of.
func (c *Config) checkHosts() error {
	check := func(member, addr string) error {
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return invalid("%s %q is not of the form host:port", c.named(member), addr)
		}
		return nil
	}
	if c.HostsListen == "" {
		if c.HostsCA != "" || len(c.HostsAddresses) > 0 {
			return invalid("%s and %s are of the door for hosts; give %s too", c.named("HostsCA"), c.named("HostsAddresses"), c.named("HostsListen"))
		}
		return nil
	}
	if err := check("HostsListen", c.HostsListen); err != nil {
		return err
	}
	for _, addr := range c.HostsAddresses {
		if err := check("HostsAddresses", addr); err != nil {
			return err
		}
	}
	return nil
}
