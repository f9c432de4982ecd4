package runner

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/handover"
	"github.com/openimds/openimds/identity"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/outlet"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
)

// ownInstance is an instance that lives in this process, for one command.
type ownInstance struct {
	name    string
	store   store.Store
	sources *credentials.Sources
	guests  *guestside.Server
	seen    *sightings
	watched *imds.Observer // nil: nobody wants to know
	log     *outlet.Outlet
	stop    context.CancelFunc
	running sync.WaitGroup
	noting  sync.Mutex // one at a time takes note
}

// credentialsTime is how long a command waits for the first credentials of its role.
const credentialsTime = time.Minute

// outputTime is how long the last lines of the log may take to be read by somebody.
const outputTime = 300 * time.Millisecond

// launchOwn makes the instance and gets it ready to be asked.
func (r *Runner) launchOwn(ctx context.Context) (home, error) {
	own := r.cfg.Own
	service := control.Config{Region: own.Region, AccountID: own.AccountID, AllowIMDSIPv6: true}
	if err := service.Validate(); err != nil {
		return nil, ConfigError{err}
	}
	o := &ownInstance{name: "run", store: mem.New(), seen: r.seen}
	var level slog.LevelVar
	level.Set(slog.LevelError) // until the command starts, what fails is returned
	// The command may have the same standard error, and need not read it: its answers do not wait for that.
	o.log = outlet.New(r.cfg.Log, func(lines int) []byte {
		return fmt.Appendf(nil, "openimds: %d lines are lost, since nobody read them in time\n", lines)
	})
	log := slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: &level}))
	served, stop := context.WithCancel(context.WithoutCancel(ctx))
	o.stop = stop
	rules := control.New(o.store, service)
	in, err := own.launch(served, rules, o.name)
	if err != nil {
		stop()
		o.log.Close(outputTime)
		return nil, err
	}
	o.sources = credentials.NewSources(own.RoleCredentials, log)
	o.guests = guestside.New(guestside.Config{
		Store: o.store, Marker: rules, Faults: rules, Credentials: o.sources, Signer: identity.NewLateSigner(log, own.identityKeys), Log: log,
	})
	o.running.Go(func() { o.guests.Run(served) })
	if err = o.guests.Seat(served, o.name); err == nil {
		err = o.guests.Settle(served, o.name)
	}
	if err == nil && in.Role != nil {
		waiting, done := context.WithTimeout(ctx, credentialsTime)
		defer done()
		if err = o.sources.Ready(waiting, in); err != nil {
			err = fmt.Errorf("no credentials for the role %s: %w", in.Role.Name, err)
		}
	}
	if err != nil {
		o.close()
		return nil, err
	}
	level.Set(slog.LevelWarn)
	if o.seen.wanted {
		o.watched = o.guests.Observe(o.name, nil, maxUntaken)
		o.running.Go(func() { o.watch(served) })
	}
	return o, nil
}

// launch makes the instance.
func (o Own) launch(ctx context.Context, rules *control.Service, name string) (*openimds.Instance, error) {
	if _, err := rules.EnsureInstance(ctx, name); err != nil {
		return nil, err
	}
	if _, err := rules.SetInstance(ctx, name, o.Instance); err != nil {
		return nil, ConfigError{err}
	}
	if _, err := rules.UpdateOptions(ctx, name, o.Options); err != nil {
		return nil, ConfigError{err}
	}
	return rules.Instance(ctx, name)
}

// identityKeys are those of this user's installation, so that its certificates verify what a command
// is shown; without one, keys for this command.
func (o Own) identityKeys(now time.Time) (*identity.Keys, error) {
	if o.IdentityDir != "" {
		if keys, err := identity.Load(o.IdentityDir); err == nil {
			return keys, nil
		}
	}
	return identity.NewKeys(now)
}

// serve implements [home].
func (o *ownInstance) serve(l *net.TCPListener) error {
	at, err := imds.Defer(l)
	if err != nil {
		return err
	}
	if o.seen.wanted {
		at = imds.Restricted(at, func(caller, _ netip.AddrPort) bool {
			o.seen.arrived(caller)
			return true
		})
	}
	o.running.Go(func() { _ = o.guests.Serve(at, o.name) }) // it ends with Shutdown
	return nil
}

// maxUntaken is how many requests may come before watch gets its turn.
const maxUntaken = 4096

// watch takes note of requests until the context ends.
func (o *ownInstance) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-o.watched.More():
			o.takeNote()
		}
	}
}

// takeNote takes note of all requests that have been answered.
func (o *ownInstance) takeNote() {
	o.noting.Lock()
	defer o.noting.Unlock()
	for _, one := range o.watched.Take() {
		o.seen.see(handover.SeenOf(one))
	}
}

// told implements [home].
func (o *ownInstance) told() (map[string]int, error) {
	o.takeNote()
	return o.watched.Lost(), nil
}

func (o *ownInstance) close() {
	// The command is gone, so nobody waits for an answer.
	over, cancel := context.WithCancel(context.Background())
	cancel()
	_ = o.guests.Shutdown(over)
	o.stop()
	o.sources.Close()
	_ = o.store.Close()
	o.running.Wait()
	o.log.Close(outputTime)
}
