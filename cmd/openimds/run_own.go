package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/control"
	"github.com/openimds/openimds/credentials"
	"github.com/openimds/openimds/guestside"
	"github.com/openimds/openimds/identity"
	"github.com/openimds/openimds/imds"
	"github.com/openimds/openimds/metadata"
	"github.com/openimds/openimds/store"
	"github.com/openimds/openimds/store/mem"
	"github.com/spf13/cobra"
)

// ownInstance is an instance that lives in this process, for one command.
type ownInstance struct {
	name    string
	store   store.Store
	sources *credentials.Sources
	guests  *guestside.Server
	log     *outlet
	stop    context.CancelFunc
	running sync.WaitGroup
}

// credentialsTime is how long a command waits for the first credentials of its role.
const credentialsTime = time.Minute

// launchOwn makes the instance and gets it ready to be asked.
func (c *runConfig) launchOwn(cmd *cobra.Command) (*ownInstance, error) {
	byRole, err := parseRoleCredentials(c.roles)
	if err != nil {
		return nil, err
	}
	service := control.Config{Region: c.region, AccountID: c.account, AllowIMDSIPv6: true, ValidateOverlay: metadata.ValidateOverlay}
	if err := service.Validate(); err != nil {
		return nil, usageError{err}
	}
	o := &ownInstance{name: "run", store: mem.New()}
	var level slog.LevelVar
	level.Set(slog.LevelError) // until the command starts, what fails is returned
	// The command may have the same standard error, and need not read it: its answers do not wait for that.
	o.log = newOutlet(cmd.ErrOrStderr(), func(lines int) []byte {
		return fmt.Appendf(nil, "openimds: %d lines are lost, since nobody read them in time\n", lines)
	})
	log := slog.New(slog.NewTextHandler(o.log, &slog.HandlerOptions{Level: &level}))
	ctx, stop := context.WithCancel(context.WithoutCancel(cmd.Context()))
	o.stop = stop
	rules := control.New(o.store, service)
	in, err := c.launch(ctx, cmd, rules, o.name)
	if err != nil {
		stop()
		o.log.close(outputTime)
		return nil, err
	}
	o.sources = credentials.NewSources(byRole, log)
	o.guests = guestside.New(guestside.Config{
		Store: o.store, Marker: rules, Credentials: o.sources, Signer: identity.NewLateSigner(log, c.identityKeys), Log: log,
	})
	o.running.Go(func() { o.guests.Run(ctx) })
	if err = o.guests.Seat(ctx, o.name); err == nil {
		err = o.guests.Settle(ctx, o.name)
	}
	if err == nil && in.Role != nil {
		waiting, done := context.WithTimeout(cmd.Context(), credentialsTime)
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
	return o, nil
}

// launch makes the instance as the flags say.
func (c *runConfig) launch(ctx context.Context, cmd *cobra.Command, rules *control.Service, name string) (*openimds.Instance, error) {
	request, err := c.set.request(cmd.Flags(), name)
	if err != nil {
		return nil, err
	}
	if _, err := rules.EnsureInstance(ctx, name); err != nil {
		return nil, err
	}
	_, err = rules.SetInstance(ctx, name, control.InstanceUpdate{
		UserData: request.UserData, TagsInMetadata: request.TagsInMetadata, RoleName: request.RoleName,
		OwnerID: request.OwnerID, ImageID: request.ImageID, InstanceType: request.InstanceType, Zone: request.Zone,
		Hostname: request.Hostname, PublicHostname: request.PublicHostname, Overlay: request.Overlay,
	})
	if err != nil {
		return nil, usageError{err}
	}
	on := openimds.EndpointEnabled
	update := openimds.OptionsUpdate{IPv6: &on}
	flags := cmd.Flags()
	if tokens := openimds.TokensMode(c.options.tokens); flags.Changed("http-tokens") {
		update.Tokens = &tokens
	}
	if endpoint := openimds.EndpointMode(c.options.endpoint); flags.Changed("http-endpoint") {
		update.Endpoint = &endpoint
	}
	if flags.Changed("hop-limit") {
		update.HopLimit = &c.options.hopLimit
	}
	if ipv6 := openimds.EndpointMode(c.options.ipv6); flags.Changed("ipv6") {
		update.IPv6 = &ipv6
	}
	if _, err := rules.UpdateOptions(ctx, name, update); err != nil {
		return nil, usageError{err}
	}
	return rules.Instance(ctx, name)
}

// identityKeys are those of this user's installation, so that its certificates verify what a command
// is shown; without one, keys for this command.
func (c *runConfig) identityKeys(now time.Time) (*identity.Keys, error) {
	if c.dataDir != "" {
		if keys, err := identity.Load(filepath.Join(c.dataDir, identityDir)); err == nil {
			return keys, nil
		}
	}
	return identity.NewKeys(now)
}

// serve implements [home].
func (o *ownInstance) serve(l *net.TCPListener, seen *sightings) error {
	at, err := imds.Defer(l)
	if err != nil {
		return err
	}
	if observe := seen.observe(); observe != nil {
		at = imds.Observed(at, observe)
	}
	o.running.Go(func() { _ = o.guests.Serve(at, o.name) }) // it ends with Shutdown
	return nil
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
	o.log.close(outputTime)
}
