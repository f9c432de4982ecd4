package server

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/imds"
)

// openCertificates reads the certificate of the control API, if it is to have one.
func (s *Server) openCertificates() error {
	if s.cfg.APICert == "" {
		return nil
	}
	var err error
	if s.certificates, err = front.OpenCertificates(s.cfg.APICert, s.cfg.APIKey, s.log); err != nil {
		return fmt.Errorf("%s, %s: %w", s.cfg.named("APICert"), s.cfg.named("APIKey"), err)
	}
	if s.cfg.APICA == "" {
		return nil
	}
	if err := s.certificates.KnownBy(s.cfg.APICA, time.Now()); err != nil {
		return fmt.Errorf("%s: clients would not know the certificate of %s by it: %w", s.cfg.named("APICA"), s.cfg.named("APICert"), err)
	}
	return nil
}

// onlyHere says whether only this machine can reach a host that is listened on. What a name stands for
// is looked at once more when it is listened on.
func onlyHere(ctx context.Context, host string) bool {
	if host == "" {
		return false
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	ctx, done := context.WithTimeout(ctx, 2*time.Second)
	defer done()
	addrs, _ := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for _, addr := range addrs {
		if !addr.Unmap().IsLoopback() {
			return false
		}
	}
	return true
}

func (s *Server) listenAPI(ctx context.Context) error {
	open, err := imds.ListenTCP(ctx, s.cfg.APIListen)
	if err != nil {
		return cannotListen(s.cfg.named("APIListen"), s.cfg.APIListen, err)
	}
	here := true
	for _, l := range open {
		s.apiL = append(s.apiL, l)
		here = here && l.Addr().(*net.TCPAddr).IP.IsLoopback()
	}
	switch {
	case here:
	case s.certificates != nil:
		s.log.Warn(fmt.Sprintf("the control API is open to other machines: whoever reaches %s and has a key can change every instance", s.cfg.named("APIListen")), "address", s.cfg.APIListen)
	case !s.cfg.APIInsecure:
		return s.cfg.exposed()
	default:
		s.log.Warn("the control API is open to other machines without TLS: requests can be read on the way, and sent again for 15 minutes", "address", s.cfg.APIListen)
	}
	return nil
}
