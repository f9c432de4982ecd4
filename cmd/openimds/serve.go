package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/openimds/openimds"
	"github.com/openimds/openimds/api/lightsail/wire"
	"github.com/openimds/openimds/printable"
	"github.com/openimds/openimds/server"
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
			c.rereads(cmd.Flags(), serveSettings)
			if err := c.settle(cmd.Flags()); err != nil {
				return err
			}
			if c.replay != "" {
				var err error
				if c.Replay, err = readRecording(cmd, c.replay); err != nil {
					return err
				}
			}
			c.Hangs = endsHanging(cmd)
			return daemon(cmd, &c.logging, func(ctx context.Context, out io.Writer, log *slog.Logger) error {
				c.Log = log
				return runServe(ctx, out, c)
			})
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

// runServe is a server from its start to its end.
func runServe(ctx context.Context, out io.Writer, c serveConfig) error {
	s, err := server.Open(ctx, c.Config)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // it was told to end while it waited for its store
	}
	if err != nil {
		return err
	}
	defer s.Close()
	if err := writeProfiles(s.DataDir()); err != nil {
		return err
	}
	if _, err := io.WriteString(out, welcome(ctx, s)); err != nil {
		return err
	}
	listing, enough := context.WithCancel(ctx)
	var listed sync.WaitGroup
	listed.Go(func() {
		select {
		case <-listing.Done():
		case <-s.Settled():
			if err := listAttachments(listing, out, s); err != nil && listing.Err() == nil {
				c.Log.Warn("the attachments cannot be listed", "error", err)
			}
		}
	})
	defer listed.Wait() // it reads the store
	defer enough()
	return s.Serve(ctx)
}

// welcome is what a person reads after the start.
func welcome(ctx context.Context, s *server.Server) string {
	in := s.Instance()
	var more strings.Builder
	if r := in.Recorded; r != nil {
		_ = say(&more, "  replays      what %s answered at %s\n", r.Source, r.RecordedAt.UTC().Format(time.RFC3339))
	}
	_ = say(&more, "  stop         Ctrl-C\n")
	host := s.HostNetwork()
	if unattached, why := s.Unattached(ctx); unattached > 0 {
		_ = say(&more, "  attached     none of %d: %s\n               their guests are not answered; see 'openimds attach'\n", unattached, why)
	} else if host.Refused != nil {
		_ = say(&more, "  attached     none can be: %s\n", host.Refused)
	}
	for _, u := range s.Unserved() {
		_ = say(&more, "  not served   %s\n", u)
	}
	for _, capability := range host.Missing {
		_ = say(&more, "  missing      %s\n", capability)
	}
	var listeners strings.Builder
	for _, at := range s.IMDSAddrs() {
		_ = say(&listeners, "  guest side   http://%s/latest/meta-data/\n", at)
	}
	_ = say(&listeners, "  control API  %s/\n", s.APIURL())
	if s.HasConsole() {
		_ = say(&listeners, "  console      %s/console/ ('openimds console' opens it)\n", s.APIURL())
	}
	if regions := s.Regions(); len(regions) > 1 {
		_ = say(&listeners, "  regions      %s\n", strings.Join(regions, ", "))
	}
	for _, at := range s.APIAddrs()[1:] {
		_ = say(&listeners, "               also at %s\n", at)
	}
	return fmt.Sprintf(`openimds %s serves the instance %q (%s)
%s  data         %s
%s`, version, in.Name, in.ID, listeners.String(), printable.Line(s.DataDir()), more.String())
}

// listedAttachments is how many of them a person reads after the start.
const listedAttachments = 10

// listAttachments goes on with the welcome, once it is known what has become of the attachments.
func listAttachments(ctx context.Context, w io.Writer, s *server.Server) error {
	type attached struct {
		*openimds.Attachment
		region, named string
	}
	var all []attached
	for _, region := range s.Regions() {
		of, err := s.ServiceOf(region).AttachmentsOf(ctx, s.HostName())
		if err != nil {
			return err
		}
		for _, a := range of {
			named := a.Instance
			if len(s.Regions()) > 1 {
				named = region + "/" + named
			}
			all = append(all, attached{a, region, named})
		}
	}
	var text strings.Builder
	_ = say(&text, "  attached     %d; see 'openimds attach --help'\n", len(all))
	err := printTable(&text, func(row func(...any)) {
		for _, a := range all[:min(len(all), listedAttachments)] {
			at := wire.Attachment{Interface: a.Interface, NetworkNamespace: a.Netns, ProcessID: a.PID, ByName: a.ByName}
			for _, source := range a.Sources {
				at.Sources = append(at.Sources, source.String())
			}
			state, reason := s.AttachmentStatus(a.region, a.Instance)
			row("    "+a.named, state, placeOf(at), reason)
		}
	})
	if err != nil {
		return err
	}
	if more := len(all) - listedAttachments; more > 0 {
		_ = say(&text, "    and %d more: 'openimds attach' lists them\n", more)
	}
	_, err = io.WriteString(w, text.String())
	return err
}
