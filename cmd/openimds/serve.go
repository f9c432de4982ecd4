package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/alarms"
	"github.com/openimds/openimds/api/accesskeys"
	"github.com/openimds/openimds/api/front"
	"github.com/openimds/openimds/attach"
	"github.com/openimds/openimds/audit"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/hostnet"
	"github.com/openimds/openimds/identity"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/safefile"
	"github.com/openimds/openimds/store/bolt"
	"github.com/openimds/openimds/usage"
	"github.com/openimds/openimds/usage/history"
	"github.com/spf13/cobra"
)

func newServe() *cobra.Command {
	var c serveConfig
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the metadata service and its control API",
		Long: `Run the metadata service and its control API until Ctrl-C.

Each flag is also an environment variable (OPENIMDS_ and its name in capitals, dashes as
underscores; lists with commas) and a key of the --config file. A flag beats the environment, and
the environment beats the file.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.settle(cmd.Flags()); err != nil {
				return err
			}
			if err := c.checkExposure(cmd.Context()); err != nil {
				return err
			}
			var replayed *openimds.Recording
			if c.replay != "" {
				var err error
				if replayed, err = readRecording(cmd, c.replay); err != nil {
					return err
				}
			}
			return runServe(cmd, c, replayed)
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

// runServe is a server from its start to its end.
func runServe(cmd *cobra.Command, c serveConfig, replayed *openimds.Recording) error {
	keepWithoutReaders()
	ctx, stop := untilSignal(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dog := newWatchdog(cmd.ErrOrStderr())
	defer dog.end()
	context.AfterFunc(ctx, dog.start)
	errs, err := c.logOutlet(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	defer errs.close(outputTime)
	out := newOutlet(cmd.OutOrStdout(), func(int) []byte { return nil })
	defer out.close(outputTime)
	log, err := c.logger(errs)
	if err != nil {
		return err
	}
	s := &server{cfg: c, log: log, out: out, dog: dog, replayed: replayed}
	defer s.close()
	if err := s.open(ctx); err != nil {
		return err
	}
	if _, err := io.WriteString(s.out, s.welcome()); err != nil {
		return err
	}
	return s.serve(ctx)
}

// server is one running installation.
type server struct {
	cfg serveConfig
	// replayed is what the default instance is to answer; nil: it stays as it is.
	replayed *openimds.Recording
	log      *slog.Logger
	out      io.Writer
	dog      *watchdog
	store    *bolt.Store
	keys     *accesskeys.File
	signer   *identity.Signer
	sources  *credentials.Sources
	usage    *usage.Recorder
	alarms   *alarms.Alarms

	// Of the host's network; nil where this process may not change it.
	host        *hostnet.Host
	hostNotes   string // of the welcome
	attachments *attach.Attachments
	audit       *audit.Log
	refusals    *audit.Refusals
	service     *control.Service
	instance    *openimds.Instance
	guests      *guestside.Server
	// guestsWaiting is how many connections of guests may wait at once; 0: any number.
	guestsWaiting int
	door          *doorkeeper // of imdsL; nil: all users may call
	imdsL         []net.Listener
	apiL          []net.Listener
	api           *front.Server
	// certificates of the control API; nil: it does not speak TLS.
	certificates *front.Certificates
}

// open brings up everything that can fail, so that a start that cannot succeed changes nothing.
func (s *server) open(ctx context.Context) error {
	if err := s.openCertificates(); err != nil {
		return err
	}
	s.shareDescriptors()
	dir, err := openDataDir(s.cfg.dataDir)
	if err != nil {
		return err
	}
	s.cfg.dataDir = dir
	if s.store, err = bolt.Open(filepath.Join(s.cfg.dataDir, storeFile)); err != nil {
		return err
	}
	if err := s.clearReadyFile(); err != nil {
		return err
	}
	if s.keys, err = accesskeys.Ensure(filepath.Join(s.cfg.dataDir, credentialsFile)); err != nil {
		return err
	}
	identityKeys, err := identity.Ensure(filepath.Join(s.cfg.dataDir, identityDir), time.Now())
	if err != nil {
		return err
	}
	s.signer = identity.NewSigner(s.log)
	s.signer.Use(identityKeys, time.Now())
	latest, err := s.openAudit()
	if err != nil {
		return err
	}
	s.usage = usage.NewRecorder(usage.Config{Store: s.store, History: history.New(history.Config{Store: s.store}), Log: s.log})
	cfg := s.cfg.service()
	cfg.Audit, cfg.History, cfg.Callers = s.audit.Record, s.usage, s.usage
	if err := s.openHost(); err != nil {
		return err
	}
	if s.host != nil {
		cfg.Attachments = attachmentStatus{s}
	}
	s.service = control.New(s.store, cfg)
	if err := s.service.ConcludeAudit(ctx, latest); err != nil { // the guests do not wait for it
		s.log.Warn("what an earlier process did not come to do is not yet in the audit log", "error", err)
	}
	s.alarms, err = alarms.New(alarms.Config{Service: s.service, Store: s.store, Webhook: s.cfg.alarmWebhook, Log: s.log})
	if err != nil {
		return usagef("--alarm-webhook: %w", err)
	}
	if s.instance, err = s.service.EnsureInstance(ctx, s.cfg.defaultInstance); err != nil {
		if openimds.KindOf(err) == openimds.NotFound {
			return fmt.Errorf("--default-instance: %w", err)
		}
		return err
	}
	if err := s.replay(ctx); err != nil {
		return err
	}
	if err := s.openGuests(ctx); err != nil {
		return err
	}
	return s.listen(ctx)
}

// replay gives the default instance the recording of --replay. It stays with the instance, as all that
// an operator sets does.
func (s *server) replay(ctx context.Context) error {
	if s.replayed == nil {
		return nil
	}
	name := s.instance.Name
	if _, err := s.service.SetInstance(ctx, name, control.InstanceUpdate{Recording: s.replayed}); err != nil {
		return fmt.Errorf("--replay %s: %w", s.cfg.replay, err)
	}
	var err error
	s.instance, err = s.service.Instance(ctx, name)
	return err
}

// openGuests makes the guest side and seats the default instance.
func (s *server) openGuests(ctx context.Context) error {
	s.sources = credentials.NewSources(s.cfg.sources, s.log)
	s.guests = guestside.New(guestside.Config{
		Store:       s.store,
		Marker:      s.service,
		Credentials: s.sources,
		Signer:      s.signer,
		IMDS: imds.Config{
			Rate:        s.cfg.rate,
			Burst:       s.cfg.burst,
			Connections: s.cfg.connections,
			Waiting:     s.guestsWaiting,
			AllowHosts:  s.cfg.allowHosts,
			Usage:       s.usage,
		},
		Log: s.log,
	})
	s.attachments = attach.New(attach.Config{
		Store: s.store, Binder: s.service, Seats: s.guests, Host: s.host, Log: s.log,
	})
	return s.guests.Seat(ctx, s.instance.Name)
}

// restricted makes a listener of --imds-listen one that only the users of --imds-allow-uid can call.
func (s *server) restricted(l net.Listener) net.Listener {
	if s.door == nil {
		return l
	}
	return imds.Restricted(l, s.door.admit)
}

func (s *server) listen(ctx context.Context) error {
	if len(s.cfg.allowUIDs) > 0 {
		var err error
		if s.door, err = newDoorkeeper(s.cfg.allowUIDs, s.log); err != nil {
			return fmt.Errorf("--imds-allow-uid: %w", err)
		}
	} else if credentials.Real(s.cfg.sources) {
		s.log.Warn("every user of this machine can have the credentials of --role-credentials by --imds-listen; --imds-allow-uid would name those who may")
	}
	for _, addr := range s.cfg.imdsListen {
		open, err := imds.Listen(ctx, addr)
		if err != nil {
			return cannotListen("--imds-listen", addr, err)
		}
		for _, l := range open {
			s.imdsL = append(s.imdsL, s.restricted(l))
		}
	}
	return s.listenAPI(ctx)
}

func cannotListen(flag, addr string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("cannot listen on %s: another program does; stop it or choose another address with %s", addr, flag)
	}
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("cannot listen on %s: this user may not; choose a port above 1023 with %s, run as root, or grant CAP_NET_BIND_SERVICE", addr, flag)
	}
	return fmt.Errorf("cannot listen on %s: %w; choose another address with %s", addr, err, flag)
}

// welcome is what a person reads after the start.
func (s *server) welcome() string {
	first := s.imdsL[0].Addr()
	replays := ""
	if r := s.instance.Recorded; r != nil {
		replays = fmt.Sprintf("  replays      what %s answered at %s\n", printable.Line(r.Source), r.RecordedAt.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf(`openimds %s serves the instance %q (%s)
  guest side   http://%s/latest/meta-data/
  control API  %s/
  data         %s
%s  stop         Ctrl-C
%s`, version, s.instance.Name, s.instance.ID, first, s.apiURL(), printable.Line(s.cfg.dataDir), replays, s.hostNotes)
}

// serve answers both sides until the context ends or one of them fails.
func (s *server) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	defer running.Wait()
	for _, l := range s.imdsL {
		running.Go(func() {
			if err := s.guests.Serve(l, s.instance.Name); !errors.Is(err, imds.ErrServerClosed) {
				cancel(fmt.Errorf("the guest side on %s failed: %w", l.Addr(), err))
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
	agentCtx, stopAgent := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAgent()
	running.Go(func() { s.guests.Run(agentCtx) })
	running.Go(func() { s.useIdentityKeys(agentCtx) })
	running.Go(func() { s.usage.Run(agentCtx) })
	running.Go(func() { s.watchStore(agentCtx) })
	running.Go(func() { s.pruneOperations(agentCtx) })
	running.Go(func() { s.alarms.Run(ctx) }) // a webhook that hangs is not waited for
	if s.certificates != nil {
		running.Go(func() { s.certificates.Run(agentCtx) })
	}
	s.runHost(agentCtx, &running)
	s.runHandover(agentCtx, &running)
	if err := s.writeReadyFile(); err != nil {
		cancel(err)
	}
	<-ctx.Done()
	s.finish()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// clearReadyFile takes back what an earlier run said, and finds out whether this one can say it: a
// script must neither take that for an answer nor wait for ever. It comes after the store is locked,
// so that a start in vain leaves a running server's file alone.
func (s *server) clearReadyFile() error {
	if s.cfg.readyFile == "" {
		return nil
	}
	if err := safefile.Clear(s.cfg.readyFile); errors.Is(err, safefile.ErrNotFile) {
		return usagef("--ready-file %w", err)
	} else if err != nil {
		return fmt.Errorf("cannot write --ready-file: %w", err)
	}
	return nil
}

// writeReadyFile tells scripts that both sides answer, and where. It appears whole or not at all.
func (s *server) writeReadyFile() error {
	if s.cfg.readyFile == "" {
		return nil
	}
	var text strings.Builder
	for _, l := range s.imdsL {
		_ = say(&text, "imds=%s\n", l.Addr())
	}
	for _, l := range s.apiL {
		_ = say(&text, "api=%s\n", l.Addr())
	}
	_ = say(&text, "api_url=%s\n", s.apiURL())
	if err := safefile.Write(s.cfg.readyFile, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("cannot write --ready-file: %w", err)
	}
	return nil
}
