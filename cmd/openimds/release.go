package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/openimds/openimds/hostnet"
	"github.com/spf13/cobra"
)

// wireGuarded is what the commands show of a place that is guarded.
type wireGuarded struct {
	Interface string `json:"interface,omitempty"`
	Netns     string `json:"networkNamespace,omitempty"`
}

// place is where it is, for people.
func (g wireGuarded) place() string {
	if g.Netns != "" {
		return "namespace " + g.Netns
	}
	return "interface " + g.Interface
}

func newRelease() *cobra.Command {
	var c clientConfig
	var all, offline bool
	cmd := &cobra.Command{
		Use:   "release [PLACE...]",
		Short: "Open the host's own way to metadata again for places that were attached, or list them",
		Long: `Open the host's own way to metadata again for places that were attached.

A place that was attached stays guarded when it is detached, and when the server stops, is killed or
restarts: nobody calls the host's own metadata service from there, if the host has one. The guard ends
with the interface or the namespace, and with this command. Without a place: list what is guarded.

  openimds release                      what is guarded and not attached
  openimds release tap0                 an interface
  openimds release /run/netns/web2      a namespace, as it is listed
  openimds release --all
  openimds release --all --offline      with the server stopped, as root on its host: before it is removed`,
		Args: func(_ *cobra.Command, args []string) error {
			if all && len(args) > 0 {
				return usagef("give places or --all, not both")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if offline {
				released, err := releaseOffline(args, all)
				if err != nil {
					return err
				}
				return c.showGuarded(cmd, released)
			}
			client, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			var answer struct {
				Places []wireGuarded `json:"places"`
			}
			if len(args) == 0 && !all {
				err = client.call(cmd.Context(), targetOpenIMDS+"GetGuardedPlaces", struct{}{}, &answer)
			} else {
				err = client.call(cmd.Context(), targetOpenIMDS+"ReleasePlaces", map[string]any{"names": args, "all": all}, &answer)
			}
			if err != nil {
				return err
			}
			return c.showGuarded(cmd, answer.Places)
		},
	}
	c.addFlags(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "all places that are guarded and not attached")
	cmd.Flags().BoolVar(&offline, "offline", false, "of this host, whose server is stopped; needs the server's capabilities")
	return cmd
}

func (c *clientConfig) showGuarded(cmd *cobra.Command, places []wireGuarded) error {
	raw := make([]json.RawMessage, len(places))
	for i, p := range places {
		var err error
		if raw[i], err = json.Marshal(p); err != nil {
			return err
		}
	}
	return c.show(cmd.OutOrStdout(), raw, func(row func(...any)) {
		row("PLACE")
		for _, p := range places {
			row(p.place())
		}
	})
}

// releaseOffline does a server's part, with none running.
func releaseOffline(names []string, all bool) ([]wireGuarded, error) {
	host, err := hostnet.New(hostnet.Config{Serve: func(_ string, l *hostnet.Listener) func() { return func() { _ = l.Close() } }})
	if err != nil {
		return nil, err
	}
	defer func() { _ = host.Close() }()
	if err := host.Sweep(); err != nil {
		if errors.Is(err, hostnet.ErrBusy) {
			return nil, fmt.Errorf("%w, or leave --offline away", err)
		}
		return nil, err
	}
	var places []hostnet.Guarded
	if len(names) == 0 && !all {
		places = host.Guarded()
	} else if places, err = host.Release(names...); err != nil {
		return nil, err
	}
	out := make([]wireGuarded, 0, len(places))
	for _, p := range places {
		out = append(out, wireGuarded(p))
	}
	return out, nil
}
